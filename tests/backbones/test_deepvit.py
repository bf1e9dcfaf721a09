import pytest
import torch
from mmseg.registry import MODELS

from mmseg_deepvit.backbones import DeepViT
from mmseg_deepvit.backbones.deepvit import ARCHS

from .reference import Reference, published_state_dict

PARAMETERS = {  # of the official models without their classifier, at 224²
    "deepvit-16b": 24_041_664,
    "deepvit-24b": 35_876_448,
    "deepvit-32b": 47_711_232,
    "deepvit-s": 26_915_632,
    "deepvit-l": 58_462_708,
}
# The distinct kinds of blocks and stems of the six architectures, narrow and two or three deep:
# (arch, width of a head, blocks, blocks with re-attention).
KINDS = {
    "deepvit-16b": ("deepvit-16b", 4, 2, 2),
    "deepvit-s": ("deepvit-s", 3, 3, 2),
    "deepvit-l": ("deepvit-l", 5, 3, 1),
}
OURS_FROM_PUBLISHED = (("reatten_matrix", "post_mix"), ("var_norm", "mix_norm"))


def our_name(published):
    for theirs, ours in OURS_FROM_PUBLISHED:
        published = published.replace(theirs, ours)
    return published


def load_by_hand(model, state):
    """Copy published weights into the model without the code under test."""
    own = model.state_dict()
    for name, value in state.items():
        if not name.startswith("head."):
            target = own[our_name(name)]
            target.copy_(value.reshape(target.shape))


@pytest.mark.parametrize("arch", PARAMETERS)
def test_parameter_counts_of_the_official_models(arch):
    with torch.device("meta"):
        model = DeepViT(arch, img_size=224)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[arch]


def test_l_384_is_l_with_more_positions():
    with torch.device("meta"):
        small, large = DeepViT("deepvit-l"), DeepViT("deepvit-l-384")
    assert large.pos_embed.shape == (1, 1 + 24 * 24, 420)
    names = dict(small.named_parameters()).keys()
    assert names == dict(large.named_parameters()).keys()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("arch", "head_dims", "depth", "mixing"), KINDS.values(), ids=KINDS)
def test_parity_with_the_equations(arch, head_dims, depth, mixing, training):
    settings = ARCHS[arch]
    dims, patch, grid = 12 * head_dims, 4, (3, 2)
    state = published_state_dict(
        dims, depth, mixing, 12, 3, patch, grid, settings.get("stem", "linear")
    )
    model = DeepViT(
        arch,
        img_size=(grid[0] * patch, grid[1] * patch),
        patch_size=patch,
        embed_dims=dims,
        num_layers=depth,
        num_mixing_layers=mixing,
    ).double()
    load_by_hand(model, state)
    model.train(training)

    learned = [k for k in state if "head." not in k and "running" not in k and "num_" not in k]
    for name in learned:
        state[name].requires_grad_()
    mix_scale = head_dims**-0.5 if arch == "deepvit-s" else 1.0
    residual_scale = 1.0 if arch == "deepvit-16b" else 0.5
    reference = Reference(state, 12, patch, residual_scale, mix_scale, training)

    images = torch.randn(3, 3, 12, 8, dtype=torch.float64)
    theirs = images.clone().requires_grad_()
    ours = images.clone().requires_grad_()
    expected = reference(theirs)
    (actual,) = model(ours)
    assert actual.shape == (3, dims, *grid)
    actual = actual.flatten(2).transpose(1, 2)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)

    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    actual.backward(upstream)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-8)
    parameters = dict(model.named_parameters())
    assert parameters.keys() == {our_name(n) for n in learned}
    for name in learned:
        grad = parameters[our_name(name)].grad
        torch.testing.assert_close(
            grad.reshape(state[name].shape), state[name].grad, rtol=1e-7, atol=1e-8, msg=name
        )
    buffers = dict(model.named_buffers())
    assert len(reference.statistics) == (training and mixing + 2 * (arch != "deepvit-16b"))
    for name, (mean, var) in reference.statistics.items():
        for kind, value in (("mean", mean), ("var", var)):
            old = state[f"{name}.running_{kind}"]
            new = buffers[our_name(f"{name}.running_{kind}")]
            torch.testing.assert_close(new, 0.9 * old + 0.1 * value)


def test_registered_and_overridden():
    model = MODELS.build(
        {"type": "DeepViT", "arch": "deepvit-s", "num_layers": 2, "num_mixing_layers": 1}
    )
    assert isinstance(model, DeepViT)
    assert [block.attn.post_mix is not None for block in model.blocks] == [False, True]


def test_arch_may_be_a_dict():
    model = DeepViT({"embed_dims": 24, "num_layers": 2}, num_heads=4)
    assert model.blocks[0].attn.num_heads == 4
    assert isinstance(model.blocks[0].attn.mix_norm, torch.nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"arch": "deepvit-xl"}, ValueError, "deepvit-16b.*got 'deepvit-xl'"),
        ({"arch": "deepvit-s", "embed_dim": 3}, TypeError, "no argument embed_dim: .*embed_dims"),
        ({"arch": "deepvit-s", "xyz": 3}, TypeError, "DeepViT has no argument xyz: leave"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        DeepViT(**arguments)
