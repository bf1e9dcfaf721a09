"""Rows that are computed alone equal those of the maps that the layers use."""

import pytest
import torch
from mmseg.models.backbones.swin import WindowMSA
from timm.layers import Attention
from torch import nn

from mmseg_deepvit.attention import HeadMixingAttention, Rotation, observe_maps
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.tokens.attention_rows import attention_rows, has_attention_rows, row_blocks


def all_rows(rows, max_bytes=200):
    blocks = row_blocks(rows, max_bytes)
    assert len(blocks) > 1
    maps = [rows.rows(block) for block in blocks]
    return [torch.cat(parts, dim=2) for parts in zip(*maps, strict=True)]


@pytest.mark.parametrize("norm", [None, "BN", "LN"])
@pytest.mark.parametrize("pre", [False, True])
@pytest.mark.parametrize("post", [False, True])
@pytest.mark.parametrize("rotary", [False, True])
def test_head_mixing(rotary, post, pre, norm):
    norm = {"type": norm} if norm and post else None
    module = HeadMixingAttention(
        *(24, 3),
        pre_mix=pre,
        post_mix=post,
        mix_norm_cfg=norm,
        mix_scale=0.7,
        map_tokens=7,
    ).eval()
    if norm and norm["type"] == "BN":
        nn.init.normal_(module.mix_norm.running_mean)
    x = torch.randn(2, 11, 24)
    angles = torch.randn(9, 4)
    args = (x, Rotation(angles.sin(), angles.cos(), pre)) if rotary else (x,)
    seen = []
    with torch.no_grad(), observe_maps(seen.append):
        module(*args)
    p, a = all_rows(attention_rows(module, args, {}))
    torch.testing.assert_close(p, seen[0].probabilities)
    torch.testing.assert_close(a, seen[0].mixed)


def test_timm():
    module = Attention(24, 3, qkv_bias=True, qk_norm=True, norm_layer=nn.LayerNorm).eval()
    x = torch.randn(2, 11, 24)
    p, a = all_rows(attention_rows(module, (x,), {}))
    values = module.qkv(x).unflatten(-1, (3, 3, 8))[:, :, 2].transpose(1, 2)
    torch.testing.assert_close(module.proj((a @ values).transpose(1, 2).flatten(2)), module(x))
    assert torch.equal(p, a)


@pytest.mark.parametrize("num_keys", [11, 3])  # as MixVisionTransformer reduces them
@pytest.mark.parametrize("batch_first", [False, True])
def test_multihead(batch_first, num_keys):
    module = nn.MultiheadAttention(24, 3, batch_first=batch_first).eval()
    nn.init.normal_(module.in_proj_bias)
    query, key = torch.randn(2, 11, 24), torch.randn(2, num_keys, 24)
    if num_keys == 11:
        key = query
    if not batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    _, expected = module(query, key, key, average_attn_weights=False)
    p, _ = all_rows(attention_rows(module, (), {"query": query, "key": key, "value": key}))
    assert p.shape == (2, 3, 11, num_keys)
    torch.testing.assert_close(p, expected)


@pytest.mark.parametrize(
    ("module", "masks"),
    [
        (nn.MultiheadAttention(24, 3), {"attn_mask": torch.zeros(11, 11)}),
        (nn.MultiheadAttention(24, 3), {"key_padding_mask": torch.zeros(2, 11)}),
        (Attention(24, 3), {"attn_mask": torch.zeros(11, 11)}),
        (Attention(24, 3), {"is_causal": True}),
    ],
)
def test_masks_are_refused(module, masks):
    x = torch.randn(2, 11, 24)
    args = (x, x, x) if isinstance(module, nn.MultiheadAttention) else (x,)
    with pytest.raises(UserError, match="attention with a mask cannot be read"):
        attention_rows(module, args, masks)


class Reversed(Attention):
    """Attention of another kind under a name that is known."""

    def forward(self, x):
        return super().forward(x.flip(1))


@pytest.mark.parametrize("masked", [False, True])
def test_windows(masked):
    module = WindowMSA(24, 3, (3, 3)).eval()
    module.init_weights()
    nn.init.normal_(module.relative_position_bias_table)
    mask = None
    if masked:
        mask = torch.where(torch.rand(2, 9, 9) > 0.7, -100.0, 0.0)
        mask.diagonal(dim1=1, dim2=2).zero_()
    x = torch.randn(6, 9, 24)
    p, _ = all_rows(attention_rows(module, (x, mask), {}))
    values = module.qkv(x).unflatten(-1, (3, 3, 8))[:, :, 2].transpose(1, 2)
    torch.testing.assert_close(
        module.proj((p @ values).transpose(1, 2).flatten(2)), module(x, mask)
    )


def test_known_layers():
    assert has_attention_rows(nn.MultiheadAttention(8, 2))
    assert not has_attention_rows(nn.MultiheadAttention(8, 2, kdim=4))
    assert not has_attention_rows(nn.MultiheadAttention(8, 2, add_bias_kv=True))
    assert not has_attention_rows(nn.MultiheadAttention(8, 2, add_zero_attn=True))
    assert has_attention_rows(Attention(8, 2))
    assert not has_attention_rows(Reversed(8, 2))
    assert not has_attention_rows(nn.Linear(8, 2))
    with pytest.raises(TypeError, match="Linear is no known attention layer"):
        attention_rows(nn.Linear(8, 2), (), {})
