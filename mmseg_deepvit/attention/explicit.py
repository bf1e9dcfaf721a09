"""Head-mixing attention as the papers write it: every map is built. The oracle of the faster forms.

Paper: DeepViT, https://arxiv.org/abs/2103.11886, eq. 4 (Re-attention); CaiT,
https://arxiv.org/abs/2103.17239, and Talking-Heads Attention, https://arxiv.org/abs/2003.02436
(mixing before and after the softmax); Vision Transformers with Patch Diversification,
https://arxiv.org/abs/2104.12753.
Deviations: logits, softmax, mixing, norm and the product with V are computed in at least fp32
whatever the inputs and autocast say; the published codes follow autocast.

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
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .call_settings import CallSettings


class AttentionMaps(NamedTuple):
    """The maps of one call.

    Attributes:
        probabilities: P, (B, H, N, N); rows sum to one (before dropout).
        mixed: A, (B, H, N, N), which meets the values; P itself where nothing is mixed.
    """

    probabilities: Tensor
    mixed: Tensor


def explicit_attention(
    q: Tensor, k: Tensor, v: Tensor, settings: CallSettings
) -> tuple[Tensor, AttentionMaps]:
    """Head-mixing attention that builds all (B, H, N, N) maps.

    Args:
        q: Queries, (B, H, N, d), any floating dtype.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: What happens to the maps.

    Returns:
        The output, (B, H, N, d) in the dtype of ``v``, and the maps, in at least fp32.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    dropout_p, position = settings.dropout_p, settings.dropout_position
    with _without_autocast(q.device.type):
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


def _without_autocast(device_type: str) -> AbstractContextManager:
    """The meta device, on which models are counted, knows no autocast at all."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def mix_heads(maps: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
    """Mix maps across heads, as a 1×1 convolution over the head dimension does.

    Args:
        maps: (B, H, N, N).
        weight: (H, H); row h makes head h. None returns ``maps`` as they are.
        bias: (H,) or None.

    Returns:
        (B, H, N, N) in the dtype of ``maps``.
    """
    if weight is None:
        return maps
    if is_exporting():
        # Reshapes to (B, H, N·N) tie graphs whose N varies to what held for the example.
        bias = None if bias is None else bias.to(maps.dtype)
        return F.conv2d(maps, weight.to(maps.dtype)[:, :, None, None], bias)
    mixed = torch.matmul(weight.to(maps.dtype), maps.flatten(2)).view_as(maps)
    return mixed if bias is None else mixed + bias.to(maps.dtype)[:, None, None]


def is_exporting() -> bool:
    """Whether the call is traced into a format that knows standard operators only."""
    exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # PyTorch ≥ 2.7
    return torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or exporting()


def normalize_maps(maps: Tensor, norm: nn.Module | None) -> Tensor:
    """Normalise (B, H, N, N) maps: a LayerNorm sees the heads as its last dimension."""
    if norm is None:
        return maps
    if isinstance(norm, nn.LayerNorm):
        return norm(maps.movedim(1, -1)).movedim(-1, 1)
    return norm(maps)
