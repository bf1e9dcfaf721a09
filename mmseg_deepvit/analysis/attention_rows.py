"""Rows of the attention maps of any transformer's layer, made from what the layer is given.

Knows our :class:`~mmseg_deepvit.attention.HeadMixingAttention`, timm's ``Attention``, PyTorch's
``MultiheadAttention`` (mmseg's ``VisionTransformer``) and mmseg's ``WindowMSA`` (Swin), each in
evaluation. No map is ever whole: rows are made when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from mmseg.models.backbones.swin import WindowMSA
from timm.layers import Attention as TimmAttention
from torch import Tensor, nn

from ..attention import HeadMixingAttention
from ..attention.explicit import mix_heads, normalize_maps

#: Which query rows.
Block = slice | list[int]


@dataclass(frozen=True)
class AttentionRows:
    """The maps of one layer, to be had in blocks of query rows.

    Attributes:
        q: (B, H, N, d), fp32; B counts windows where attention is within windows.
        k: (B, H, N, d).
        scale: Factor of the logits.
        finish: From (B, H, R, N) logits and which rows they are: P and A, which is P itself where
            nothing is mixed.
        layout: Maps of layers with the same layout have the same tokens in the same places.
    """

    q: Tensor
    k: Tensor
    scale: float
    finish: Callable[[Tensor, Block], tuple[Tensor, Tensor]]
    layout: Hashable

    def rows(self, block: Block) -> tuple[Tensor, Tensor]:
        """P and A of some queries, a slice or a list of them, (B, H, R, N) each, fp32."""
        logits = self.scale * (self.q[:, :, block] @ self.k.transpose(-2, -1))
        return self.finish(logits, block)


def attention_rows(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> AttentionRows:
    """The maps of an attention layer for an input.

    Args:
        module: One that :func:`has_attention_rows` knows.
        args: What it was called with.
        kwargs: Likewise.

    Returns:
        Its maps.
    """
    for kind, adapter in _ADAPTERS.items():
        if isinstance(module, kind):
            return adapter(module, *args, **kwargs)
    raise TypeError(f"no attention layer that is known: {type(module).__name__}")


def has_attention_rows(module: nn.Module) -> bool:
    """Whether a module is an attention layer whose maps can be made."""
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is None:
        return False  # keys of another width than queries: no self-attention
    return isinstance(module, tuple(_ADAPTERS))


def _split(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """Queries and keys, (B, H, N, d) each, of (B, N, 3·H·d)."""
    q, k, _ = qkv.float().unflatten(-1, (3, num_heads, -1)).permute(2, 0, 3, 1, 4)
    return q, k


def _softmax(logits: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    maps = logits.softmax(-1)
    return maps, maps


def _of_head_mixing(module: HeadMixingAttention, x: Tensor) -> AttentionRows:
    def finish(logits: Tensor, block: Block) -> tuple[Tensor, Tensor]:
        if (pre := module.pre_mix) is not None:
            logits = mix_heads(logits, pre.weight, pre.bias)
        probabilities = maps = logits.softmax(-1)
        weight, scale = module.post_mix_of(x.shape[1])
        if (post := module.post_mix) is not None:
            maps = mix_heads(maps, weight, post.bias)
            maps = normalize_maps(maps, module.mix_norm)
        return probabilities, maps if scale == 1.0 else scale * maps

    q, k = _split(module.qkv(x), module.num_heads)
    return AttentionRows(q, k, module.scale, finish, q.shape[2])


def _of_timm(module: Any, x: Tensor, *args: Any, **kwargs: Any) -> AttentionRows:
    q, k = _split(module.qkv(x), module.num_heads)
    q, k = module.q_norm(q), module.k_norm(k)
    return AttentionRows(q, k, module.scale, _softmax, q.shape[2])


def _of_multihead(
    module: nn.MultiheadAttention, query: Tensor, *args: Any, **kwargs: Any
) -> AttentionRows:
    x = query if module.batch_first else query.transpose(0, 1)
    qkv = F.linear(x, module.in_proj_weight, module.in_proj_bias)
    q, k = _split(qkv, module.num_heads)
    return AttentionRows(q, k, module.head_dim**-0.5, _softmax, q.shape[2])


def _of_windows(module: Any, x: Tensor, mask: Tensor | None = None) -> AttentionRows:
    tokens = x.shape[1]
    table = module.relative_position_bias_table[module.relative_position_index.view(-1)]
    bias = table.view(tokens, tokens, -1).permute(2, 0, 1).float()

    def finish(logits: Tensor, block: Block) -> tuple[Tensor, Tensor]:
        logits = logits + bias[:, block]
        if mask is not None:
            logits = logits.unflatten(0, (-1, len(mask))) + mask[:, None, block]
            logits = logits.flatten(0, 1)
        return _softmax(logits, block)

    q, k = _split(module.qkv(x), module.num_heads)
    # Windows that are shifted have other tokens in them.
    return AttentionRows(q, k, module.scale, finish, (q.shape[0], tokens, mask is not None))


_ADAPTERS: dict[type[nn.Module], Callable[..., AttentionRows]] = {
    HeadMixingAttention: _of_head_mixing,
    TimmAttention: _of_timm,
    nn.MultiheadAttention: _of_multihead,
    WindowMSA: _of_windows,
}


def row_blocks(layer: AttentionRows, max_bytes: int) -> list[slice]:
    """Blocks of query rows of which one map takes no more than some bytes."""
    batch, heads, tokens, _ = layer.q.shape
    size = max(1, max_bytes // (4 * batch * heads * tokens))
    return [slice(start, min(start + size, tokens)) for start in range(0, tokens, size)]
