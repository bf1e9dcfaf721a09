import pytest
import torch
from mmseg.registry import MODELS

from mmseg_deepvit.backbones import DiversePatchViT
from mmseg_deepvit.backbones.diverse_patch_vit import ARCHS

from .reference import Reference, published_state_dict

OURS_FROM_PUBLISHED = (("proj_pre", "pre_mix"), ("proj_post", "post_mix"))


def our_name(published):
    for theirs, ours in OURS_FROM_PUBLISHED:
        published = published.replace(theirs, ours)
    return published


def parameters_by_hand(width, blocks, heads, mixing):
    """Of a DeiT of this size with two (H, H) mixes in each mixing block, without a classifier."""
    linear = sum(out * width + out for out in (3 * width, width, 4 * width))
    block = linear + (4 * width * width + width) + 4 * width
    tokens = width * 3 * 16 * 16 + width + width + 197 * width
    return tokens + blocks * block + mixing * 2 * heads * heads + 2 * width


@pytest.mark.parametrize(
    ("arch", "width", "blocks", "heads", "mixing"),
    [
        ("diversepatch-t", 192, 12, 3, 12),
        ("diversepatch-s", 384, 12, 6, 12),
        ("diversepatch-s24", 384, 24, 6, 24),
        ("diversepatch-s48", 384, 48, 6, 48),
        ("diversepatch-b", 768, 12, 12, 12),
        ("diversepatch-b24", 768, 24, 12, 24),
        ("diversepatch-b48", 768, 48, 12, 48),
        ("diversepatch-l", 1024, 24, 16, 0),
    ],
)
def test_published_architectures(arch, width, blocks, heads, mixing):
    with torch.device("meta"):
        model = MODELS.build({"type": "DiversePatchViT", "arch": arch})
    assert model.blocks[0].attn.num_heads == heads
    assert [b.attn.pre_mix is not None for b in model.blocks].count(True) == mixing
    expected = parameters_by_hand(width, blocks, heads, mixing)
    assert sum(p.numel() for p in model.parameters()) == expected
    assert set(ARCHS) >= {arch}


@pytest.mark.parametrize("backend", ["explicit", "blockwise"])
@pytest.mark.parametrize(("arch", "mixing"), [("diversepatch-t", 2), ("diversepatch-l", 0)])
def test_parity_with_the_equations(arch, mixing, backend):
    heads = ARCHS[arch]["num_heads"]
    dims, patch, grid, depth = 8 * heads, 4, (3, 2), 2
    state = published_state_dict(
        dims, depth, mixing, heads, 4, patch, grid, "linear", family="diversepatch"
    )
    state = {k: v for k, v in state.items() if "head" not in k}
    model = DiversePatchViT(
        arch,
        img_size=(grid[0] * patch, grid[1] * patch),
        patch_size=patch,
        embed_dims=dims,
        num_layers=depth,
        attn_backend=backend,
    ).double()
    model.load_state_dict({our_name(k): v for k, v in state.items()})
    for value in state.values():
        value.requires_grad_()
    reference = Reference(state, heads, patch, 1.0, 1.0, training=True)

    images = torch.randn(2, 3, 12, 8, dtype=torch.float64)
    expected = reference(images)
    actual = model(images)[0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    actual.backward(upstream)
    parameters = dict(model.named_parameters())
    assert parameters.keys() == {our_name(n) for n in state}
    for name, value in state.items():
        torch.testing.assert_close(
            parameters[our_name(name)].grad, value.grad, rtol=1e-7, atol=1e-8, msg=name
        )


def test_unknown_architecture():
    with pytest.raises(ValueError, match=r"diversepatch-b48.*got 'diversepatch-xl'"):
        DiversePatchViT("diversepatch-xl")
