"""Rows of attention maps, computed from the inputs of any transformer's attention layer.

These layers are known, each in evaluation mode: our
:class:`~mmseg_deepvit.attention.HeadMixingAttention`, timm's ``Attention``, PyTorch's
``MultiheadAttention`` (mmseg's ``VisionTransformer``; with fewer keys than queries,
``MixVisionTransformer`` and ``PCPVT``) and mmseg's ``WindowMSA`` (Swin). A subclass that overrides
``forward`` and a call with a mask are refused, because their maps differ. Rows are computed when
they are asked for, so memory never holds a full map.
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

from ..attention import HeadMixingAttention, Rotation
from ..attention.explicit import mix_heads, normalize_maps
from ..errors import UserError
from ..module_calls import Call, watch_calls

_SUPPORTED = (
    "give one of our ViTs, timm's VisionTransformer, or mmseg's VisionTransformer, "
    "SwinTransformer, MixVisionTransformer or PCPVT"
)
_MASKED = "attention with a mask cannot be read; give a backbone that attends to all of its keys"

#: Selection of query rows.
Block = slice | list[int]

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class AttentionRows:
    """The maps of one layer, computed in blocks of query rows.

    Attributes:
        q: Queries, (B, H, N, d), at least fp32; B counts windows in window attention.
        k: Keys, (B, H, M, d); M < N in layers that reduce their keys, else M = N.
        scale: Factor of the logits.
        finish: Function of logits, (B, H, R, M), and their rows. It returns P and A, which is P
            itself in a layer without mixing.
        layout: Key of the token order: equal in two layers whose maps have the same tokens in the
            same places.
    """

    q: Tensor
    k: Tensor
    scale: float
    finish: Callable[[Tensor, Block], tuple[Tensor, Tensor]]
    layout: Hashable

    def rows(self, block: Block) -> tuple[Tensor, Tensor]:
        """P and A of R queries, a slice or a list of them, (B, H, R, M) each."""
        logits = self.scale * (self.q[:, :, block] @ self.k.transpose(-2, -1))
        return self.finish(logits, block)


def attention_rows(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AttentionRows:
    """The maps of an attention layer for an input.

    Args:
        module: Layer that :func:`has_attention_rows` knows.
        args: Positional arguments of its call.
        kwargs: Keyword arguments of its call.

    Returns:
        Rows of its maps P and A.

    Raises:
        TypeError: The layer is of no known kind.
        UserError: The call had a mask.
    """
    if not has_attention_rows(module):
        raise TypeError(f"{type(module).__name__} is no known attention layer; {_SUPPORTED}")
    return _ADAPTERS[_known_kind(module)](module, *args, **kwargs)


def has_attention_rows(module: nn.Module) -> bool:
    """Whether a module is an attention layer whose maps can be computed."""
    if isinstance(module, nn.MultiheadAttention):
        # Keys of another width than queries, or keys that are not computed from the input.
        own_keys = module.bias_k is not None or module.add_zero_attn
        if module.in_proj_weight is None or own_keys:
            return False
    return _known_kind(module) is not None


def _known_kind(module: nn.Module) -> Any:
    """The known class whose ``forward`` a module runs, or None."""
    for kind in _ADAPTERS:
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return kind
    return None


def attention_layers(backbone: nn.Module) -> dict[str, str]:
    """Names of the blocks with an attention layer, in order, and the name of that layer.

    Raises:
        UserError: No block has one, or one block has two, or some blocks have an unknown one.
    """
    kind, names = type(backbone).__name__, {}
    for name, module in backbone.named_modules():
        block = re.match(r"(.*\d+)\.", name)  # the innermost member of a list
        found = has_attention_rows(module)
        if isinstance(module, ParallelThingsBlock) or (found and block and block[1] in names):
            raise UserError(f"{kind} has several attentions in a block ({name}); {_SUPPORTED}")
        if found and block:
            names[block[1]] = name
    if not names:
        raise UserError(f"{kind} has no attention maps that can be read; {_SUPPORTED}")
    parents = [name.rpartition(".")[0] for name in names]
    lists = {name: backbone.get_submodule(name) for name in parents}
    for name, blocks in lists.items():
        others = [f"{name}.{i}".lstrip(".") for i, _ in blocks.named_children()]
        if isinstance(blocks, (nn.ModuleList, nn.Sequential)) and set(others) - set(names):
            other = next(other for other in others if other not in names)
            raise UserError(
                f"{kind} has attention maps that cannot be read in {other}, and figures of some "
                f"blocks alone would mislead; {_SUPPORTED}"
            )
    return names


@contextmanager
def catch_attention(
    backbone: nn.Module, names: Mapping[str, str], read: Callable[[AttentionRows], _Read]
) -> Iterator[dict[str, _Read]]:
    """Apply a function to each block's attention maps while the context lasts.

    Args:
        backbone: Module that runs within the context.
        names: Blocks and attention layers, as :func:`attention_layers` returns them.
        read: Function of a block's maps.

    Yields:
        Results of the function for the blocks that have run, by the block's name.
    """
    caught: dict[str, _Read] = {}

    def see(block: str, call: Call) -> None:
        caught[block] = read(attention_rows(call.module, call.args, call.kwargs))

    with watch_calls({block: backbone.get_submodule(n) for block, n in names.items()}, see):
        yield caught


def at_least_fp32(*tensors: Tensor) -> list[Tensor]:
    """Tensors in their dtype where it is fp32 or wider, else in fp32."""
    return [x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]


def _queries_and_keys(module: Any, x: Tensor) -> list[Tensor]:
    """Queries and keys, (B, H, N, d) each, of a layer with one projection ``qkv``."""
    qkv = module.qkv(x).unflatten(-1, (3, module.num_heads, -1))
    return at_least_fp32(*qkv[:, :, :2].permute(2, 0, 3, 1, 4))


def _softmax(logits: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    maps = logits.softmax(-1)
    return maps, maps


def _of_head_mixing(
    module: HeadMixingAttention, x: Tensor, rotation: Rotation | None = None
) -> AttentionRows:
    def finish(logits: Tensor, block: Block) -> tuple[Tensor, Tensor]:
        if (pre := module.pre_mix) is not None:
            logits = mix_heads(logits, pre.weight, pre.bias)
        probabilities = maps = logits.softmax(-1)
        weight, scale = module.post_mix_of(x.shape[1])
        if (post := module.post_mix) is not None:
            maps = mix_heads(maps, weight, post.bias)
            maps = normalize_maps(maps, module.mix_norm)
        return probabilities, maps if scale == 1.0 else scale * maps

    q, k = at_least_fp32(*module.split_heads(module.qkv(x), rotation)[:2])
    return AttentionRows(q, k, module.scale, finish, q.shape[2])


def _of_timm(
    module: Any, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
) -> AttentionRows:
    if attn_mask is not None or is_causal:
        raise UserError(_MASKED)
    q, k = _queries_and_keys(module, x)
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

    q, k = _queries_and_keys(module, x)
    # Shifted windows, which have a mask, hold other tokens.
    return AttentionRows(q, k, module.scale, finish, (q.shape[0], tokens, mask is not None))


_ADAPTERS: dict[type[nn.Module], Callable[..., AttentionRows]] = {
    HeadMixingAttention: _of_head_mixing,
    TimmAttention: _of_timm,
    nn.MultiheadAttention: _of_multihead,
    WindowMSA: _of_windows,
}


def row_blocks(layer: AttentionRows, max_bytes: int) -> list[slice]:
    """Blocks of query rows; one map's rows of a block take at most ``max_bytes``."""
    batch, heads, tokens, _ = layer.q.shape
    size = max(1, max_bytes // (4 * batch * heads * layer.k.shape[2]))
    return [slice(start, min(start + size, tokens)) for start in range(0, tokens, size)]
