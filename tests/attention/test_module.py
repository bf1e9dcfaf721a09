import pytest
import torch
from torch import nn

from mmseg_deepvit.attention import HeadMixingAttention, observe_maps
from mmseg_deepvit.attention.sync_norm import SyncMapNorm

from .reference import attention_by_hand


def split_heads(module, x):
    """Compute queries, keys and values by hand, each (B, H, N, d)."""
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
        ({"map_tokens": 0}, "map_tokens must be at least 1, got 0"),
        ({"attn_drop_position": "logits"}, "'softmax' or 'mix', got 'logits'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        HeadMixingAttention(**{"embed_dims": 12, "num_heads": 3, **arguments})


def of_training(norm, **settings):
    """Make a module with random parameters and running statistics, as after training."""
    norm = {"type": norm} if norm else None
    module = HeadMixingAttention(12, 3, post_mix=True, mix_norm_cfg=norm, mix_scale=0.7, **settings)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 1.0)
    return module.double()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pre_mix", [True, False])
@pytest.mark.parametrize("mix_bias", [True, False])
@pytest.mark.parametrize("norm", [None, "BN", "LN"])
@pytest.mark.parametrize("backend", ["explicit", "blockwise"])
def test_repeated_tokens_change_nothing(backend, norm, mix_bias, pre_mix, training):
    """With map_tokens, repeated tokens have the output and gradients of the tokens."""
    module = of_training(norm, map_tokens=11, mix_bias=mix_bias, pre_mix=pre_mix, backend=backend)
    module.train(training)
    once = torch.randn(2, 7, 12, dtype=torch.float64, requires_grad=True)
    expected = module(once)
    weights = torch.randn_like(expected)
    expected_grads = torch.autograd.grad((expected * weights).sum(), [once, *module.parameters()])
    for times in (2, 3):
        out = module(once.repeat(1, times, 1))
        torch.testing.assert_close(out, expected.repeat(1, times, 1), rtol=0, atol=1e-10)
        loss = (out * weights.repeat(1, times, 1)).sum() / times
        grads = torch.autograd.grad(loss, [once, *module.parameters()])
        for grad, same in zip(grads, expected_grads, strict=True):
            torch.testing.assert_close(grad, same, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("norm", [None, "BN", "LN"])
def test_map_tokens_is_the_number_at_which_nothing_changes(norm):
    plain = of_training(norm).eval()
    same = HeadMixingAttention(
        *(12, 3),
        post_mix=True,
        mix_norm_cfg={"type": norm} if norm else None,
        mix_scale=0.7,
        map_tokens=9,
    )
    same.double().eval().load_state_dict(plain.state_dict())
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(same(x), plain(x), rtol=0, atol=1e-12)
    often = x.repeat(1, 2, 1)
    assert (same(often) - plain(often)).abs().max() > 1e-3
    assert (same(often) - same(x).repeat(1, 2, 1)).abs().max() < 1e-10


def test_a_running_mean_learned_at_map_tokens_is_right_at_any_number():
    """Each head's map, averaged over the batch and the entries, is β · N₀ / N."""
    module = of_training("BN", map_tokens=9)
    module.mix_norm.momentum = None
    with torch.no_grad():
        module.mix_norm.reset_running_stats()
        module.train()(torch.randn(2, 9, 12, dtype=torch.float64))
        for tokens in (5, 9, 33):
            maps = []
            with observe_maps(maps.append):
                module.eval()(torch.randn(2, tokens, 12, dtype=torch.float64))
            means = maps[0].mixed.mean((0, 2, 3))
            expected = 0.7 * module.mix_norm.bias * 9 / tokens
            torch.testing.assert_close(means, expected, rtol=0, atol=1e-12)
