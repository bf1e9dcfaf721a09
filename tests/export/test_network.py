import pytest
import torch
from mmseg.apis import inference_model
from torch import nn

from mmseg_deepvit.export import ExportNetwork
from mmseg_deepvit.export.network import AdaptiveAveragePool


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (6, 6), (9, 4)])
@pytest.mark.parametrize("shape", [(4, 4), (13, 17), (7, 2)])
def test_pooling_is_pytorchs(size, shape):
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    expected = nn.AdaptiveAvgPool2d(size)(x)
    torch.testing.assert_close(AdaptiveAveragePool(size)(x), expected)


@pytest.mark.parametrize("bgr_to_rgb", [True, False])
def test_takes_raw_rgb_for_models_of_either_order(small, bgr_to_rgb):
    options = {"model.data_preprocessor.bgr_to_rgb": bgr_to_rgb, "model.test_cfg.mode": "whole"}
    model = small("linear_cait-xxs24_ade20k", **options)
    model.cfg.test_pipeline.pop(1)  # no resizing
    pixels = torch.randint(0, 256, (48, 80, 3), dtype=torch.uint8)
    expected = inference_model(model, pixels.numpy()).seg_logits.data
    images = pixels.flip(-1).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        found = ExportNetwork(model)(images)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_model_is_not_changed(small):
    model = small("upernet_deepvit_ade20k")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = ExportNetwork(model, (96, 80))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert network.num_folded == 1
    assert network.model.backbone.patch_grid == (6, 5)
    assert not any("auxiliary_head" in name for name in network.state_dict())
