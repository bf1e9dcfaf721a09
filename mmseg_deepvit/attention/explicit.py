"""Explicit head-mixing attention: it builds every map, as the papers write it.

Tests compare the faster backends with it.

Paper: DeepViT, https://arxiv.org/abs/2103.11886, eq. 4 (Re-attention); CaiT,
https://arxiv.org/abs/2103.17239, and Talking-Heads Attention, https://arxiv.org/abs/2003.02436
(mixing before and after the softmax); Vision Transformers with Patch Diversification,
https://arxiv.org/abs/2104.12753.
Deviations: logits, softmax, mixing, norm and the product with V are computed in at least fp32, with
any inputs and under autocast. The published codes follow autocast.

With B images, H heads, N tokens and head width d, for each head h:

    S_h  = scale · Q_h K_hᵀ                           (B, N, N) logits
    S'_h = Σ_g pre_weight[h, g] S_g + pre_bias[h]     optional
    P_h  = softmax of S'_h over the keys
    M_h  = Σ_g post_weight[h, g] P_g + post_bias[h]   optional
    A_h  = mix_scale · norm(M)_h                      optional
    O_h  = A_h V_h
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .call_settings import CallSettings


class AttentionMaps(NamedTuple):
    """Maps of one call.

    Attributes:
        probabilities: Maps P before dropout, (B, H, N, N); rows sum to one.
        mixed: Maps A, (B, H, N, N), that multiply the values; P if nothing changes it.
    """

    probabilities: Tensor
    mixed: Tensor


def explicit_attention(
    q: Tensor, k: Tensor, v: Tensor, settings: CallSettings
) -> tuple[Tensor, AttentionMaps]:
    """Compute head-mixing attention from full (B, H, N, N) maps.

    Args:
        q: Queries, (B, H, N, d), any floating dtype.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: Settings of the call.

    Returns:
        The output, (B, H, N, d) in the dtype of ``v``, and the maps, in at least fp32.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    dropout_p, position = settings.dropout_p, settings.dropout_position
    with without_autocast(q.device.type):
        logits = settings.scale * (q.to(dtype) @ k.to(dtype).transpose(-2, -1))
        logits = mix_heads(logits, settings.pre_weight, settings.pre_bias)
        probabilities = maps = logits.softmax(dim=-1)
        if position == "softmax":
            maps = F.dropout(maps, dropout_p)
        maps = mix_heads(maps, settings.post_weight, settings.post_bias)
        maps = normalize_maps(maps, settings.map_norm)
        if settings.scales_maps:
            maps = settings.mix_scale * maps
        if position == "mix":
            maps = F.dropout(maps, dropout_p)
        return (maps @ v.to(dtype)).to(v.dtype), AttentionMaps(probabilities, maps)


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Turn autocast off. FLOPs are counted on meta, which has none."""
    # torch.amp.is_autocast_available breaks the graphs of torch.compile in PyTorch 2.9.
    if device_type != "meta" and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def mix_heads(maps: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
    """Mix maps across heads, like a 1×1 convolution with heads as channels.

    Args:
        maps: Maps of all heads, (B, H, N, N).
        weight: Mix, (H, H); row h makes head h. None returns ``maps`` unchanged.
        bias: Summand of each mixed head, (H,), or None.

    Returns:
        (B, H, N, N) in the dtype of ``maps``.
    """
    if weight is None:
        return maps
    if is_exporting():
        # A reshape to (B, H, N·N) would fix a variable N to that of the example input.
        bias = None if bias is None else bias.to(maps.dtype)
        return F.conv2d(maps, weight.to(maps.dtype)[:, :, None, None], bias)
    mixed = torch.matmul(weight.to(maps.dtype), maps.flatten(2)).view_as(maps)
    return mixed if bias is None else mixed + bias.to(maps.dtype)[:, None, None]


def is_exporting() -> bool:
    """Tell whether the call is traced into a format that has standard operators only."""
    jit: Any = torch.jit  # untyped
    exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # PyTorch ≥ 2.7
    return bool(jit.is_tracing() or torch.onnx.is_in_onnx_export() or exporting())


def normalize_maps(maps: Tensor, norm: nn.Module | None) -> Tensor:
    """Normalise (B, H, N, N) maps; a LayerNorm gets the heads as the last dimension."""
    if isinstance(norm, nn.LayerNorm):
        maps = norm(maps.movedim(1, -1)).movedim(-1, 1)
    elif norm is not None:
        maps = norm(maps)
    return maps
