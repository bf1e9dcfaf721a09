"""Rows of the attention maps of any transformer's layer, made from what the layer is given.

Knows our :class:`~mmseg_deepvit.attention.HeadMixingAttention`, timm's ``Attention``, PyTorch's
``MultiheadAttention`` (mmseg's ``VisionTransformer``; with fewer keys than queries,
``MixVisionTransformer`` and ``PCPVT``) and mmseg's ``WindowMSA`` (Swin), each in evaluation. A
subclass with a forward pass of its own, or a call with a mask, is refused: its maps are others. No
map is ever whole: rows are made when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from mmseg.models.backbones.swin import WindowMSA
from timm.layers import Attention as TimmAttention
from timm.models.vision_transformer import ParallelThingsBlock
from torch import Tensor, nn

from ..attention import HeadMixingAttention
from ..attention.explicit import mix_heads, normalize_maps
from ..errors import UserError
from ..module_calls import Call, watch_calls

_SUPPORTED = (
    "maps are read of our ViTs, of timm's VisionTransformer, and of mmseg's VisionTransformer, "
    "SwinTransformer, MixVisionTransformer and PCPVT"
)
_MASKED = "attention with a mask cannot be read: give a backbone that attends to all of its keys"

#: Which query rows.
Block = slice | list[int]

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class AttentionRows:
    """The maps of one layer, to be had in blocks of query rows.

    Attributes:
        q: (B, H, N, d), at least fp32; B counts windows where attention is within windows.
        k: (B, H, M, d); M = N unless keys are fewer, as where attention reduces them.
        scale: Factor of the logits.
        finish: From (B, H, R, M) logits and which rows they are: P and A, which is P itself where
            nothing is mixed.
        layout: Maps of layers with the same layout have the same tokens in the same places.
    """

    q: Tensor
    k: Tensor
    scale: float
    finish: Callable[[Tensor, Block], tuple[Tensor, Tensor]]
    layout: Hashable

    def rows(self, block: Block) -> tuple[Tensor, Tensor]:
        """P and A of some queries, a slice or a list of them, (B, H, R, M) each."""
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

    Raises:
        TypeError: It is none of those.
        UserError: It was called with a mask.
    """
    if not has_attention_rows(module):
        raise TypeError(f"no attention layer that is known: {type(module).__name__}")
    return _ADAPTERS[_known_kind(module)](module, *args, **kwargs)


def has_attention_rows(module: nn.Module) -> bool:
    """Whether a module is an attention layer whose maps can be made."""
    if isinstance(module, nn.MultiheadAttention):
        # Keys of another width than queries, or keys that are not of the input.
        own_keys = module.bias_k is not None or module.add_zero_attn
        if module.in_proj_weight is None or own_keys:
            return False
    return _known_kind(module) is not None


def _known_kind(module: nn.Module) -> Any:
    """The class whose forward pass a module has, of those that there is an adapter for."""
    for kind in _ADAPTERS:
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return kind
    return None


def attention_layers(backbone: nn.Module) -> dict[str, str]:
    """Names of the blocks that have an attention layer, in order, and of that layer.

    Raises:
        UserError: There is none, or there are blocks among them whose attention cannot be read.
    """
    kind, names = type(backbone).__name__, {}
    for name, module in backbone.named_modules():
        block = re.match(r"(.*\d+)\.", name)  # the innermost that stands in a list
        found = has_attention_rows(module)
        if isinstance(module, ParallelThingsBlock) or (found and block and block[1] in names):
            raise UserError(f"{kind}: {name} is of several attentions in a block; {_SUPPORTED}")
        if found and block:
            names[block[1]] = name
    if not names:
        raise UserError(f"{kind} has no attention maps that can be read; {_SUPPORTED}")
    lists = {name: backbone.get_submodule(name) for name in map(_parent, names)}
    for name, blocks in lists.items():
        others = [f"{name}.{i}".lstrip(".") for i, _ in blocks.named_children()]
        if isinstance(blocks, (nn.ModuleList, nn.Sequential)) and set(others) - set(names):
            other = next(other for other in others if other not in names)
            raise UserError(
                f"{kind}: no attention maps of {other} can be read, and a part of the blocks would "
                f"be figures of another model; {_SUPPORTED}"
            )
    return names


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


@contextmanager
def catch_attention(
    backbone: nn.Module, names: Mapping[str, str], read: Callable[[AttentionRows], _Read]
) -> Iterator[dict[str, _Read]]:
    """Catch what a function reads of each block's attention while the context lasts.

    Args:
        backbone: Module that runs within the context.
        names: As :func:`attention_layers` returns them.
        read: Function of a block's maps.

    Yields:
        What was read, by the block's name, of the blocks that have run.
    """
    caught: dict[str, _Read] = {}

    def see(block: str, call: Call) -> None:
        caught[block] = read(attention_rows(call.module, call.args, call.kwargs))

    with watch_calls({block: backbone.get_submodule(n) for block, n in names.items()}, see):
        yield caught


def split_queries_and_keys(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """Queries and keys, (B, H, N, d) each, at least fp32, of (B, N, 3·H·d)."""
    qkv = qkv.unflatten(-1, (3, num_heads, -1))[:, :, :2]
    q, k = qkv.to(torch.promote_types(qkv.dtype, torch.float32)).permute(2, 0, 3, 1, 4)
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

    q, k = split_queries_and_keys(module.qkv(x), module.num_heads)
    return AttentionRows(q, k, module.scale, finish, q.shape[2])


def _of_timm(
    module: Any, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
) -> AttentionRows:
    if attn_mask is not None or is_causal:
        raise UserError(_MASKED)
    q, k = split_queries_and_keys(module.qkv(x), module.num_heads)
    q, k = module.q_norm(q), module.k_norm(k)
    return AttentionRows(q, k, module.scale, _softmax, q.shape[2])


def _of_multihead(
    module: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    **kwargs: Any,
) -> AttentionRows:
    if attn_mask is not None or key_padding_mask is not None:
        raise UserError(_MASKED)
    weights = module.in_proj_weight.chunk(3)
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    q, k = (
        F.linear(x if module.batch_first else x.transpose(0, 1), weight, bias)
        .float()
        .unflatten(-1, (module.num_heads, -1))
        .transpose(1, 2)
        for x, weight, bias in zip((query, key), weights, biases, strict=False)
    )
    return AttentionRows(q, k, module.head_dim**-0.5, _softmax, (q.shape[2], k.shape[2]))


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

    q, k = split_queries_and_keys(module.qkv(x), module.num_heads)
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
    size = max(1, max_bytes // (4 * batch * heads * layer.k.shape[2]))
    return [slice(start, min(start + size, tokens)) for start in range(0, tokens, size)]
