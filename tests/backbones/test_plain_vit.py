"""The plain ViT: timm's models, by name and size, and the DeepViT without mixing that it was."""

import pytest
import timm
import torch
from mmseg.registry import MODELS

from mmseg_deepvit.backbones import DeepViT, PlainViT
from mmseg_deepvit.backbones.plain_vit import ARCHS

SMALL = dict(embed_dims=48, num_layers=3, num_heads=3)
SIZES = dict(img_size=32, patch_size=8, out_indices=(0, 2))


@pytest.mark.parametrize("arch", ARCHS)
def test_architectures_are_timms(arch):
    """Names and shapes of all parameters, at 224²."""
    with torch.device("meta"):
        ours = MODELS.build({"type": "PlainViT", "arch": arch})
        theirs = timm.create_model(f"{arch.replace('-', '_')}_224", num_classes=0)
    shapes = {name: p.shape for name, p in ours.named_parameters()}
    assert shapes == {name: p.shape for name, p in theirs.named_parameters()}


def test_parity_with_timm_at_another_size():
    """Features and gradients, positions resized."""
    ours = PlainViT("vit-tiny-patch16", img_size=64, num_layers=2).double()
    theirs = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, depth=2, num_classes=0, dynamic_img_size=True
    ).double()
    ours.init_weights()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 48, 96, dtype=torch.float64)
    expected = theirs.forward_features(images)
    actual = ours.forward_features(images)
    # timm resizes positions in single precision.
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    upstream = torch.randn_like(expected)
    for out in (actual, expected):
        out.backward(upstream)
    parameters = dict(theirs.named_parameters())
    for name, one in ours.named_parameters():
        other = parameters[name].grad
        torch.testing.assert_close(one.grad, other, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("settings", [{}, {"map_tokens": "img_size", "drop_path_rate": 0.2}])
def test_a_deepvit_without_mixing_is_the_same_bit_for_bit(settings):
    """Checkpoints, weights from scratch, features and gradients: old configs and files hold."""
    models = []
    for kind, more in ((PlainViT, {}), (DeepViT, {"num_mixing_layers": 0})):
        torch.manual_seed(3)
        model = kind({**SMALL, "mlp_ratio": 3}, **SIZES, **settings, **more)
        model.init_weights()
        torch.manual_seed(4)
        outs = model(torch.randn(2, 3, 40, 32))
        sum(out.square().sum() for out in outs).backward()
        models.append((model.state_dict(), outs, [p.grad for p in model.parameters()]))
    for one, other in zip(*models, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    "mixing", [{"num_mixing_layers": 2}, {"post_mix": True}, {"mix_norm_cfg": {"type": "BN"}}]
)
def test_mixing_is_refused(mixing):
    with pytest.raises(ValueError, match=rf"no heads, got {next(iter(mixing))}=.*take DeepViT"):
        PlainViT(SMALL, **mixing)


def test_absent_mixing_may_be_said():
    assert PlainViT(SMALL, mix_norm_cfg=None, num_mixing_layers=0).num_layers == 3


def test_unknown_architecture():
    with pytest.raises(ValueError, match=r"vit-large-patch16, got 'vit-huge'"):
        PlainViT("vit-huge")
