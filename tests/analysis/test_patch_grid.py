import numpy as np
import pytest

from mmseg_deepvit.analysis.patch_grid import PatchGrid

#: An image of 200×100 that the model sees as 100×50, in patches of 16: 7×4 with a rest.
GRID = PatchGrid((4, 7), (16, 16), (50, 100), (100, 200))


@pytest.mark.parametrize(
    ("point", "patch"),
    [((0, 0), (0, 0)), ((31, 31), (0, 0)), ((32, 31), (0, 1)), ((199, 99), (3, 6))],
)
def test_points_find_their_patch(point, patch):
    assert GRID.find(*point) == patch
    assert GRID.index(*point) == patch[0] * 7 + patch[1]
    left, top, width, height = GRID.box(*point)
    assert (left, top, width, height) == (32 * patch[1], 32 * patch[0], 32, 32)


@pytest.mark.parametrize("point", [(-1, 0), (0, -1), (200, 0), (0, 100)])
def test_points_outside_are_refused(point):
    with pytest.raises(ValueError, match="outside the image of 200×100"):
        GRID.find(*point)


def test_a_patch_covers_its_own_pixels_and_padding_is_cut_off():
    spread = GRID.spread(np.arange(28.0), smooth=False)
    assert spread.shape == (50, 100)
    for x, y in [(0, 0), (16, 0), (99, 49), (15, 16)]:
        assert spread[y, x] == GRID.index(2 * x, 2 * y)


def test_smooth_values_are_exact_at_the_centres_of_patches():
    """A ramp stays a ramp between the first centre and the last."""
    spread = GRID.spread(np.tile(np.arange(7.0), 4))
    columns = np.arange(8, 100)
    assert np.allclose(spread[20, columns], (columns + 0.5 - 8) / 16, atol=1e-5)
    assert GRID.spread(np.zeros((28, 3))).shape == (50, 100, 3)
