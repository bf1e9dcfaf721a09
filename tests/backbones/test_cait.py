"""CaiT against timm's: same weights, same tokens, same gradients."""

import pytest
import timm
import torch
from mmseg.registry import MODELS
from timm.models.cait import Cait

from mmseg_deepvit.backbones import CaiT
from mmseg_deepvit.backbones.cait import ARCHS

TIMM_NAMES = {
    "cait-xxs24": "cait_xxs24_224",
    "cait-xxs36": "cait_xxs36_224",
    "cait-xs24": "cait_xs24_384",
    "cait-s24": "cait_s24_224",
    "cait-s36": "cait_s36_384",
    "cait-m36": "cait_m36_384",
    "cait-m48": "cait_m48_448",
}
# The distinct widths and numbers of heads; the depth only repeats.
WIDTHS = ["cait-xxs24", "cait-xs24", "cait-s24", "cait-m36"]
OURS_FROM_TIMM = (
    ("proj_l.", "pre_mix."),
    ("proj_w.", "post_mix."),
    ("gamma_1", "ls1.gamma"),
    ("gamma_2", "ls2.gamma"),
)


def our_name(timm_name):
    for theirs, ours in OURS_FROM_TIMM:
        timm_name = timm_name.replace(theirs, ours)
    return timm_name


def randomize(model):
    """Weights of a trained model's size; at LayerScale 1e-5 no block would show."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gamma" in name or "norm" in name:
                parameter.normal_(1.0, 0.2)
            elif "proj_l" in name or "proj_w" in name:
                parameter.normal_(0.0, 0.5)
            else:
                parameter.normal_(0.0, 0.05)


def pair_of_models(arch, size, depth, with_cls_blocks, dtype):
    settings = ARCHS[arch]
    theirs = Cait(
        img_size=size,
        embed_dim=settings["embed_dims"],
        depth=depth,
        num_heads=settings["num_heads"],
        num_classes=0,
    )
    randomize(theirs)
    ours = CaiT(arch, img_size=size, num_layers=depth, with_cls_blocks=with_cls_blocks)
    state = {our_name(k): v for k, v in theirs.state_dict().items()}
    if not with_cls_blocks:
        del state["cls_token"]
        state = {k: v for k, v in state.items() if not k.startswith("blocks_token_only")}
    ours.load_state_dict(state)
    return theirs.to(dtype).eval(), ours.to(dtype).eval()


@pytest.mark.parametrize("arch", TIMM_NAMES)
def test_published_architectures(arch):
    with torch.device("meta"):
        theirs = timm.create_model(TIMM_NAMES[arch], num_classes=0)
        ours = CaiT(arch, img_size=theirs.patch_embed.img_size[0], with_cls_blocks=True)
    shapes = {our_name(k): v.shape for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == shapes
    assert ours.blocks[0].attn.num_heads == theirs.blocks[0].attn.num_heads


def test_an_architecture_by_timms_name():
    with torch.device("meta"):
        named = CaiT("timm://cait_xxs24_224", num_layers=2)
        ours = CaiT("cait-xxs24", num_layers=2)
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in (named, ours)]
    assert shapes[0] == shapes[1]
    assert named.blocks[0].attn.num_heads == ours.blocks[0].attn.num_heads


@pytest.mark.parametrize("arch", ["cait-s24", "cait-s36"])
def test_layer_scale_and_mixes_start_as_published(arch):
    theirs = timm.create_model(TIMM_NAMES[arch], num_classes=0, depth=1)
    ours = CaiT(arch, num_layers=1, with_cls_blocks=True)
    ours.init_weights()
    assert torch.equal(ours.blocks[0].ls1.gamma, theirs.blocks[0].gamma_1)
    assert torch.equal(ours.blocks_token_only[1].ls2.gamma, theirs.blocks_token_only[1].gamma_2)
    assert 0 < ours.blocks[0].attn.pre_mix.weight.std() < 0.04
    assert ours.cls_token.std() > 0


@pytest.mark.parametrize("size", [224, 64, (48, 80)], ids=str)
@pytest.mark.parametrize("arch", WIDTHS)
def test_parity_with_timm(arch, size):
    """Patch tokens, class token, and the gradients of the patch tokens' loss."""
    depth, dtype = (1, torch.float32) if size == 224 else (2, torch.float64)
    theirs, ours = pair_of_models(arch, size, depth, True, dtype)
    height, width = (size, size) if isinstance(size, int) else size
    images = torch.randn(1, 3, height, width, dtype=dtype)
    expected = theirs.forward_features(images)
    tolerance = dict(rtol=1e-3, atol=1e-4) if dtype == torch.float32 else dict(rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.forward_features(images), expected, **tolerance)

    (maps,) = ours(images)
    assert maps.shape == (1, expected.shape[-1], height // 16, width // 16)
    patches = maps.flatten(2).transpose(1, 2)
    torch.testing.assert_close(patches, expected[:, 1:], **tolerance)

    upstream = torch.randn_like(patches)
    patches.backward(upstream)
    expected[:, 1:].backward(upstream)
    parameters = dict(ours.named_parameters())
    largest = max(p.grad.abs().max() for p in theirs.parameters() if p.grad is not None)
    for name, parameter in theirs.named_parameters():
        if "blocks_token_only" in name or name == "cls_token":
            continue
        # The softmax cancels the bias of the mix before it: timm's gradient is rounding alone.
        scale = max(parameter.grad.abs().max(), 1e-3 * largest)
        torch.testing.assert_close(
            parameters[our_name(name)].grad / scale,
            parameter.grad / scale,
            rtol=0,
            atol=1e-3 if dtype == torch.float32 else 1e-9,
            msg=lambda m, name=name: f"{name}: {m}",
        )


def test_gradients_of_class_blocks():
    theirs, ours = pair_of_models("cait-xxs24", 32, 1, True, torch.float64)
    ours.requires_grad_(True)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected, actual = theirs.forward_features(images)[:, 0], ours.forward_features(images)[:, 0]
    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    actual.backward(upstream)
    parameters = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        ours_grad = parameters[our_name(name)].grad
        torch.testing.assert_close(ours_grad, parameter.grad, rtol=1e-8, atol=1e-9, msg=name)


def test_patches_do_not_depend_on_class_blocks():
    with_blocks, without = (
        pair[1]
        for pair in (
            pair_of_models("cait-xxs24", 32, 2, flag, torch.float32) for flag in (True, False)
        )
    )
    shared = {k: v for k, v in with_blocks.state_dict().items() if k in without.state_dict()}
    without.load_state_dict(shared)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(with_blocks(images)[0], without(images)[0])
    assert torch.equal(
        without.forward_features(images), with_blocks.forward_features(images)[:, 1:]
    )
    with_blocks(images)[0].sum().backward()
    wanted = [n for n, p in with_blocks.named_parameters() if p.requires_grad and p.grad is None]
    assert wanted == []


def test_drop_path_is_constant():
    model = MODELS.build({"type": "CaiT", "arch": "cait-xxs24", "drop_path_rate": 0.1})
    assert {block.drop_path.drop_prob for block in model.blocks} == {0.1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "cait-xl"}, "cait-xxs24.*got 'cait-xl'"),
        ({"arch": ["cait-s24"]}, r"a dict or one of .*got \['cait-s24'\]"),
        (
            {"arch": {"embed_dims": 48, "num_layers": 2}, "with_cls_blocks": True},
            "lacks num_heads; give embed_dims, num_layers, num_heads",
        ),
        ({"arch": {"num_heads": 2}, "num_layers": 1}, "lacks embed_dims;"),
        ({"with_cls_blocks": True, "with_cls_token": True}, "set with_cls_token=False"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        CaiT(**arguments)
