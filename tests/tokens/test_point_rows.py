import pytest
import torch
from mmseg.models.backbones import (
    PCPVT,
    MixVisionTransformer,
    ResNet,
    SwinTransformer,
    VisionTransformer,
)

from mmseg_deepvit.attention import observe_maps
from mmseg_deepvit.backbones.cait import CaiT
from mmseg_deepvit.backbones.deepvit import DeepViT
from mmseg_deepvit.backbones.diverse_patch_vit import DiversePatchViT
from mmseg_deepvit.tokens.point_rows import read_point_rows

SMALL = dict(embed_dims=16, num_layers=3, num_heads=2, img_size=32, patch_size=8)


@pytest.mark.parametrize("kind", [DeepViT, CaiT, DiversePatchViT])
def test_rows_equal_those_of_full_maps(kind):
    model = kind(dict(), **SMALL, num_mixing_layers=2).eval()
    model.init_weights()
    images = torch.randn(1, 3, 32, 40)
    maps_seen = []
    with torch.no_grad(), observe_maps(maps_seen.append):
        model(images)
    tokens = [7, 0, 19]
    blocks = read_point_rows(model, images, tokens, 20 + (kind is not CaiT))
    assert len(blocks) == len(maps_seen) == 3
    assert blocks[0].mixed is None
    for rows, maps in zip(blocks, maps_seen, strict=True):
        for row, token in enumerate(tokens):
            expected = maps.probabilities[0, :, token]
            torch.testing.assert_close(rows.probabilities[row], expected)
            if rows.mixed is not None:
                torch.testing.assert_close(rows.mixed[row], maps.mixed[0, :, token])
    for rows in blocks[1:]:
        assert (rows.mixed - rows.probabilities).abs().max() > 1e-4
        assert torch.allclose(rows.probabilities.sum(-1), torch.ones(3, 2))


FOUR = dict(embed_dims=8, num_heads=(1, 1, 2, 2))
TWINS = dict(embed_dims=[8] * 4, mlp_ratios=[2] * 4, depths=[1] * 4, norm_after_stage=False)


@pytest.mark.parametrize(
    ("kind", "sizes", "blocks"),
    [
        (VisionTransformer, dict(img_size=64, num_layers=2, embed_dims=24, num_heads=2), 2),
        (SwinTransformer, dict(embed_dims=12, depths=(1, 1, 1, 1), window_size=4), 4),
        (MixVisionTransformer, dict(FOUR, num_layers=(1, 1, 1, 1)), 4),
        (PCPVT, FOUR | TWINS, 4),
        (ResNet, dict(depth=18), 0),
    ],
)
def test_only_attention_over_all_patches_has_rows(kind, sizes, blocks):
    model = kind(**sizes)
    model.eval()  # which mmseg's return nothing from
    tokens = 17 if kind is VisionTransformer else 256
    caught = read_point_rows(model, torch.randn(1, 3, 64, 64), [tokens - 1], tokens)
    if kind is VisionTransformer:
        assert [rows.probabilities.shape for rows in caught] == [(1, 2, tokens)] * blocks
    else:
        assert caught == [None] * blocks
