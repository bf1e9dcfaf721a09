"""Angles of rotary positions against timm's modules."""

import pytest
import torch
from timm.layers import create_rope_embed

from mmseg_deepvit.backbones.rotary import make_rotary

HEAD_DIMS, GRID = 32, (4, 6)
#: Our settings, and timm's for the same angles.
CONVENTIONS = {
    "dinov3": ("dinov3", dict(rope_type="dinov3", temperature=100.0, rotate_half=True)),
    "eva02": ("eva02", dict(in_pixels=False, ref_feat_shape=(16, 16))),
    "pe": (
        "pe",
        dict(in_pixels=False, ref_feat_shape=GRID, grid_offset=1.0, grid_indexing="xy"),
    ),
    "another base": (
        dict(type="eva02", base=50, reference_grid=None, interleaved=False),
        dict(in_pixels=False, temperature=50.0, rotate_half=True),
    ),
}


@pytest.mark.parametrize("grid", [GRID, (7, 7), (9, 2), (1, 1)])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_angles_are_timms(convention, grid):
    rope, settings = CONVENTIONS[convention]
    rotary = make_rotary(rope, HEAD_DIMS, GRID, with_cls_token=True)
    sin, cos, interleaved = rotary(grid, HEAD_DIMS, torch.zeros(1))
    theirs = create_rope_embed(dim=2 * HEAD_DIMS, num_heads=2, **settings).get_embed(grid)
    assert interleaved != settings.get("rotate_half", False)
    for angles, expected in zip((sin, cos), theirs.chunk(2, -1), strict=True):
        each = angles.repeat_interleave(2, -1) if interleaved else torch.cat([angles] * 2, -1)
        torch.testing.assert_close(each, expected, rtol=0, atol=1e-5)


def test_precision_is_that_of_the_tokens_but_at_least_fp32():
    rotary = make_rotary("dinov3", HEAD_DIMS, GRID, with_cls_token=True)
    for dtype, expected in (
        (torch.bfloat16, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert rotary(GRID, HEAD_DIMS, torch.zeros(1, dtype=dtype)).sin.dtype == expected


@pytest.mark.parametrize("with_cls_token", [False, True])
def test_pe_counts_from_one_where_there_is_a_class_token(with_cls_token):
    rotary = make_rotary(dict(type="pe", reference_grid=8), HEAD_DIMS, GRID, with_cls_token)
    assert rotary.offset == with_cls_token
    assert rotary.reference_grid == (8, 8)


@pytest.mark.parametrize(
    ("rope", "head_dims", "message"),
    [
        ("llama", 32, "rope must be one of 'dinov3', 'eva02', 'pe', got 'llama'"),
        (dict(base=3), 32, "rope must be one of .* got None"),
        (dict(type="pe", theta=3), 32, "rope has no setting theta; give some of type, base"),
        (dict(type="pe", reference_grid=0), 32, "rope.reference_grid must be .* got 0"),
        ("pe", 18, "a multiple of 4 channels, got 18"),
    ],
)
def test_bad_arguments(rope, head_dims, message):
    with pytest.raises(ValueError, match=message):
        make_rotary(rope, head_dims, GRID, with_cls_token=True)
