import pytest
import torch
from torch import nn

from mmseg_deepvit.attention import HeadMixingAttention, observe_maps
from mmseg_deepvit.attention.sync_norm import SyncMapNorm

from .reference import attention_by_hand


def split_heads(module, x):
    """Queries, keys and values, each (B, H, N, d), by hand."""
    q, k, v = module.qkv(x).chunk(3, dim=-1)
    heads = module.num_heads
    return [t.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for t in (q, k, v)]


@pytest.mark.parametrize("num_heads", [1, 3, 12])
@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize(
    "mix", [{}, {"post_mix": True}, {"pre_mix": True, "post_mix": True, "mix_bias": False}], ids=str
)
def test_equals_the_equations(num_heads, qkv_bias, mix):
    module = HeadMixingAttention(36, num_heads, qkv_bias, **mix).double()
    x = torch.randn(2, 11, 36, dtype=torch.float64, requires_grad=True)
    mixes = {}
    for name in ("pre", "post"):
        if mix.get(f"{name}_mix"):
            linear = getattr(module, f"{name}_mix")
            mixes.update({f"{name}_weight": linear.weight, f"{name}_bias": linear.bias})
    out = attention_by_hand(*split_heads(module, x), (36 / num_heads) ** -0.5, **mixes)
    expected = module.proj(out.transpose(1, 2).reshape(2, 11, 36))
    actual = module(x)
    torch.testing.assert_close(actual, expected)
    inputs = [x, *module.parameters()]
    upstream = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(actual, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_dropout_only_in_training():
    module = HeadMixingAttention(12, 3, post_mix=True, attn_drop=0.5)
    x = torch.randn(1, 9, 12)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))


def test_mix_scale_none_is_head_width():
    assert HeadMixingAttention(396, 12, post_mix=True, mix_scale=None).mix_scale == 33**-0.5


@pytest.mark.parametrize(
    ("kind", "cls"), [("BN", nn.BatchNorm2d), ("SyncBN", SyncMapNorm), ("LN", nn.LayerNorm)]
)
def test_map_norms(kind, cls):
    module = HeadMixingAttention(12, 3, post_mix=True, mix_norm_cfg={"type": kind})
    assert isinstance(module.mix_norm, cls)
    assert module.mix_norm.weight.shape == (3,)
    assert module(torch.randn(1, 5, 12)).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embed_dims": 10, "num_heads": 3}, "multiple of num_heads, got 10 and 3"),
        ({"mix_norm_cfg": {"type": "BN"}}, "needs post_mix"),
        ({"post_mix": True, "mix_norm_cfg": {"type": "IN"}}, "BN, SyncBN or LN"),
        ({"attn_drop_position": "logits"}, "'softmax' or 'mix', got 'logits'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        HeadMixingAttention(**{"embed_dims": 12, "num_heads": 3, **arguments})


def trained_norm(module):
    """Statistics of some training, a mean far from any map's among them."""
    with torch.no_grad():
        module.mix_norm.running_mean.normal_()
        module.mix_norm.running_var.uniform_(0.001, 0.01)
        module.mix_norm.weight.uniform_(0.5, 1.5)
        module.mix_norm.bias.normal_()
    return module.double().eval()


@pytest.mark.parametrize("mix_bias", [True, False])
@pytest.mark.parametrize("tokens", [5, 17, 64])
@pytest.mark.parametrize("backend", ["explicit", "blockwise"])
def test_recentred_maps_have_the_mean_of_their_own(backend, tokens, mix_bias):
    """Whatever N: each head's map, averaged over the batch and the entries, is β."""
    settings = dict(post_mix=True, mix_bias=mix_bias, mix_norm_cfg={"type": "BN"})
    module = trained_norm(HeadMixingAttention(12, 3, **settings, recenter_maps=True))
    x = torch.randn(2, tokens, 12, dtype=torch.float64)
    maps = []
    with torch.no_grad(), observe_maps(maps.append):
        expected = module(x)
    means = maps[0].mixed.mean((0, 2, 3))
    torch.testing.assert_close(means, module.mix_norm.bias, rtol=0, atol=1e-12)
    module.backend = backend
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


def test_recentring_leaves_training_and_its_statistics_alone():
    settings = dict(post_mix=True, mix_norm_cfg={"type": "BN"})
    plain = trained_norm(HeadMixingAttention(12, 3, **settings)).train()
    recentred = HeadMixingAttention(12, 3, **settings, recenter_maps=True).double().train()
    recentred.load_state_dict(plain.state_dict())
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    assert torch.equal(recentred(x), plain(x))
    assert torch.equal(recentred.mix_norm.running_mean, plain.mix_norm.running_mean)


def test_recentred_is_the_same_where_the_running_mean_is_right():
    """At training's own N nothing changes."""
    settings = dict(post_mix=True, mix_norm_cfg={"type": "BN"})
    plain = trained_norm(HeadMixingAttention(12, 3, **settings))
    mix = plain.post_mix
    with torch.no_grad():
        plain.mix_norm.running_mean.copy_(mix.weight.sum(1) / 9 + mix.bias)
    recentred = HeadMixingAttention(12, 3, **settings, recenter_maps=True).double().eval()
    recentred.load_state_dict(plain.state_dict())
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(recentred(x), plain(x), rtol=0, atol=1e-12)
    other = torch.randn(2, 21, 12, dtype=torch.float64)
    assert (recentred(other) - plain(other)).abs().max() > 1e-3
