import pytest

from mmseg_deepvit.weights.positions import find_grid


@pytest.mark.parametrize(
    ("num_positions", "num_prefix", "own_grid", "expected"),
    [
        (197, [1, 0], (32, 32), (1, (14, 14))),  # class token with a position
        (196, [1, 0], (32, 32), (0, (14, 14))),  # without (CaiT, timm's no_embed_class)
        (198, [1, 2, 0], (32, 32), (2, (14, 14))),  # a distilled DeiT
        (1370, [1, 5, 0], (32, 32), (1, (37, 37))),  # DINOv2 with registers, as published
        (1369, [1, 5, 0], (32, 32), (0, (37, 37))),  # and as timm has it
        (9, [1, 0], (2, 4), (1, (2, 4))),  # the model's own grid goes before a square
        (33, [1, 0], (2, 4), (1, (4, 8))),  # the model's aspect
        (13, [1, 0], (3, 3), None),
        (0, [1, 0], (3, 3), None),
    ],
)
def test_find_grid(num_positions, num_prefix, own_grid, expected):
    assert find_grid(num_positions, num_prefix, own_grid) == expected


def test_a_grid_that_is_told():
    assert find_grid(13, [1, 0], (3, 3), (2, 6)) == (1, (2, 6))
    assert find_grid(12, [1, 0], (3, 3), (2, 6)) == (0, (2, 6))
    assert find_grid(14, [1, 0], (3, 3), (2, 6)) is None
