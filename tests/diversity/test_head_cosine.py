import pytest
import torch

from mmseg_deepvit.attention import HeadMixingAttention, observe_maps
from mmseg_deepvit.backbones.deepvit import DeepViT
from mmseg_deepvit.diversity import head_cosine_loss
from mmseg_deepvit.module_calls import catch_results

from . import reference
from .test_losses import Watch

HEADS = 3
KINDS = {
    "plain": {},
    "deepvit": dict(post_mix=True, mix_norm_cfg=dict(type="BN"), mix_scale=0.5),
    "no bias in qkv, no affine": dict(
        post_mix=True, qkv_bias=False, mix_norm_cfg=dict(type="BN", affine=False)
    ),
    "layer norm": dict(post_mix=True, mix_norm_cfg=dict(type="LN")),
    "no norm": dict(post_mix=True),
    "talking heads": dict(pre_mix=True, post_mix=True),
    "map tokens": dict(post_mix=True, mix_norm_cfg=dict(type="BN"), map_tokens=9),
}


def make_layers(kind, count=3, tokens=5, batch=2, seed=0):
    """Attention layers of a kind with random weights, and inputs for them."""
    torch.manual_seed(seed)
    layers = []
    for _ in range(count):
        module = HeadMixingAttention(4 * HEADS, HEADS, **KINDS[kind]).double()
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        layers.append((module, torch.randn(batch, tokens, 4 * HEADS, dtype=torch.float64)))
    return layers


def projected(layers):
    return [(module, module.split_heads(module.qkv(x))) for module, x in layers]


def test_maps_of_rotary_positions():
    """The loss reads the queries and keys that the layers rotated."""
    model = DeepViT(
        dict(embed_dims=16, num_layers=2, num_heads=2), img_size=32, patch_size=8, rope="dinov3"
    ).eval()
    model.init_weights()
    layers, maps = [block.attn for block in model.blocks], []
    with (
        torch.no_grad(),
        observe_maps(maps.append),
        catch_results({layer: layer.split_heads for layer in layers}) as caught,
    ):
        model(torch.randn(2, 3, 32, 48))
        actual = head_cosine_loss(list(caught.items()), block_rows=2)
    expected = torch.cosine_similarity(maps[0].mixed, maps[1].mixed, dim=1).mean()
    torch.testing.assert_close(actual, expected)


def gradients(loss, layers, inputs):
    wanted = [*inputs, *(p for module, _ in layers for p in module.parameters())]
    return torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(kind, training):
    """Value and gradients are those of the published formula on the layers' maps."""
    layers = make_layers(kind)
    for module, x in layers:
        module(x)  # running statistics that are not those of a new norm
        module.train(training)
    inputs = [x.requires_grad_() for _, x in layers]
    buffers = [b.clone() for module, _ in layers for b in module.buffers()]
    actual = head_cosine_loss(projected(layers), block_rows=2)
    assert all(
        torch.equal(a, b)
        for a, b in zip(buffers, (b for m, _ in layers for b in m.buffers()), strict=True)
    )
    maps = []
    with observe_maps(maps.append):
        for module, x in layers:
            module(x)
    expected = reference.head_cosine([found.mixed for found in maps])
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(
        gradients(actual, layers, inputs), gradients(expected, layers, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_agrees_with_pytorchs_cosine_similarity_in_float32():
    layers = [(module.float(), x.float()) for module, x in make_layers("deepvit", tokens=50)]
    maps = []
    with observe_maps(maps.append):
        for module, x in layers:
            module(x)
    cosine = torch.nn.CosineSimilarity(dim=1)
    pairs = [cosine(maps[i].mixed, maps[i + 1].mixed) for i in range(2)]
    actual = head_cosine_loss(projected(layers))
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, torch.stack(pairs).mean(), rtol=1e-4, atol=1e-6)


def test_no_full_map_is_built():
    layers = make_layers("deepvit", count=2, tokens=600, batch=1)
    layers = [(module.float(), x.float()) for module, x in layers]
    with Watch() as watch:
        head_cosine_loss(projected(layers), block_rows=20).backward()
    assert watch.largest <= 4 * HEADS * 20 * 600


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        (make_layers("plain", count=1), {}, "needs at least two attention layers, got 1"),
        (
            [*make_layers("plain", 1), *make_layers("plain", 1, tokens=6)],
            {},
            r"equal numbers of images, heads and tokens, got \(2, 3, 5\), \(2, 3, 6\)",
        ),
        (make_layers("plain", count=2), {"block_rows": 0}, "block_rows must be at least 1, got 0"),
    ],
)
def test_bad_input(layers, options, message):
    with pytest.raises(ValueError, match=message):
        head_cosine_loss(projected(layers), **options)
