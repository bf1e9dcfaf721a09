import pytest
import torch
from torch import nn

from mmseg_deepvit.attention import HeadMixingAttention
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
