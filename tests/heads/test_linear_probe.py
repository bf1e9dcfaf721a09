import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_deepvit.heads import LinearProbeHead


def head(**arguments):
    init_default_scope("mmseg")
    built = MODELS.build({"type": "LinearProbeHead", "num_classes": 3, **arguments})
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter)
    return built


def maps(*sizes, dtype=torch.float32, channels=4):
    return tuple(torch.randn(2, channels, *size, dtype=dtype) for size in sizes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm_cfg", [None, {"type": "BN", "eps": 1e-3}])
@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("in_index", [-1, 0, (0, 1), (1, 2, 0)])
def test_outputs_and_gradients(in_index, mode, norm_cfg, dtype):
    """Those of the same layers written out; in training the batch's own statistics count."""
    inputs = maps((5, 3), (5, 3), (3, 2), dtype=dtype)
    inputs = tuple(x.requires_grad_() for x in inputs)
    built = head(in_channels=4, in_index=in_index, norm_cfg=norm_cfg, dropout_ratio=0.0)
    built.to(dtype).train(mode)
    chosen = [inputs[i] for i in ((in_index,) if isinstance(in_index, int) else in_index)]
    size = chosen[0].shape[2:]
    x = torch.cat([F.interpolate(y, size, mode="bilinear") for y in chosen], 1)
    if norm_cfg:
        mean, var = torch.zeros(x.shape[1], dtype=dtype), torch.ones(x.shape[1], dtype=dtype)
        if mode:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        weight, bias = built.norm.weight[:, None, None], built.norm.bias[:, None, None]
        x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-3).sqrt() * weight + bias
    matrix = built.conv_seg.weight[:, :, 0, 0]
    expected = torch.einsum("kc,bchw->bkhw", matrix, x) + built.conv_seg.bias[:, None, None]
    found = built(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    grad = torch.randn_like(found)
    leaves = [*chosen, *built.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves, grad),
        torch.autograd.grad(expected, leaves, grad),
        rtol=1e-3,
        atol=1e-3,
    )


def test_the_norm_sees_what_tests_have():
    """Dropout comes after it, so the statistics are those of the maps."""
    built = head(in_channels=4, norm_cfg={"type": "BN", "momentum": 1.0}, dropout_ratio=0.9)
    (x,) = maps((6, 6))
    built.train()((x,))
    torch.testing.assert_close(built.norm.running_mean, x.mean((0, 2, 3)))


def test_learns_from_features_that_need_no_gradient():
    built = head(in_channels=4, norm_cfg={"type": "BN"})
    built(maps((4, 4))).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in built.parameters())


def test_other_channels_are_refused():
    assert head(in_channels=4, channels=4).channels == 4
    with pytest.raises(ValueError, match="channels must be in_channels, 4, as no layer"):
        LinearProbeHead(4, 8, num_classes=3)
