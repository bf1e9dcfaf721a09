import copy

import pytest
import torch

from mmseg_deepvit.backbones import CaiT, DeepViT, DiversePatchViT
from mmseg_deepvit.export import fold_map_norms

from .conftest import randomize_norms

SMALL = dict(embed_dims=24, num_heads=3, num_layers=3, img_size=32, out_indices=(0, 1, 2))


@pytest.mark.parametrize("map_tokens", [None, "img_size"])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("mix_bias", [True, False])
@pytest.mark.parametrize("backbone", [DeepViT, CaiT, DiversePatchViT])
def test_folded_equals_unfolded(backbone, affine, mix_bias, map_tokens):
    norm = dict(type="BN", affine=affine, requires_grad=True)
    arch = dict(SMALL, mix_norm_cfg=norm, mix_bias=mix_bias, num_mixing_layers=2, mix_scale=0.7)
    arch["map_tokens"] = map_tokens
    model = backbone(arch).double().eval()
    model.init_weights()
    randomize_norms(model)
    folded = copy.deepcopy(model)
    assert fold_map_norms(folded) == 2
    assert not any("mix_norm" in name for name in folded.state_dict())
    images = torch.randn(2, 3, 37, 50, dtype=torch.float64)
    with torch.no_grad():
        for new, old in zip(folded(images), model(images), strict=True):
            assert (new - old).abs().max() < 1e-10 * old.abs().max()


def test_norms_that_depend_on_the_maps_stay():
    model = DeepViT(dict(SMALL, mix_norm_cfg=dict(type="LN"), mix_scale=0.7)).double().eval()
    folded = copy.deepcopy(model)
    assert fold_map_norms(folded) == 0
    assert all(block.attn.mix_norm is not None for block in folded.blocks)
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), model(images), rtol=0, atol=0)
