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

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Where attention dropout acts: on P (DeepViT) or on A (CaiT).
DropoutPosition = Literal["softmax", "mix"]


def explicit_head_mixing_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    pre_weight: Tensor | None = None,
    pre_bias: Tensor | None = None,
    post_weight: Tensor | None = None,
    post_bias: Tensor | None = None,
    map_norm: nn.Module | None = None,
    mix_scale: float = 1.0,
    dropout_p: float = 0.0,
    dropout_position: DropoutPosition = "softmax",
) -> Tensor:
    """Head-mixing attention that builds all (B, H, N, N) maps.

    Args:
        q: Queries, (B, H, N, d), any floating dtype.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        scale: Factor of the logits, usually d^-½.
        pre_weight: (H, H) mix of the logits; row h makes head h. None for no mix.
        pre_bias: (H,), added to the mixed logits.
        post_weight: (H, H) mix of the probabilities. None for no mix.
        post_bias: (H,), added to the mixed probabilities.
        map_norm: Norm of the mixed maps: BatchNorm2d or SyncBatchNorm over (B, N, N) for each
            head, or LayerNorm over the H heads of each entry. In training mode a BatchNorm
            normalises by the batch and updates its running statistics.
        mix_scale: Factor of the normalised maps.
        dropout_p: Probability, in [0, 1), that an entry of the map is dropped; 0 outside training.
        dropout_position: ``'softmax'`` drops entries of P, ``'mix'`` drops entries of A.

    Returns:
        (B, H, N, d) in the dtype of ``v``.
    """
    with torch.autocast(q.device.type, enabled=False):
        maps = explicit_attention_maps(
            q,
            k,
            scale=scale,
            pre_weight=pre_weight,
            pre_bias=pre_bias,
            post_weight=post_weight,
            post_bias=post_bias,
            map_norm=map_norm,
            mix_scale=mix_scale,
            dropout_p=dropout_p,
            dropout_position=dropout_position,
        ).mixed
        return (maps @ v.to(maps.dtype)).to(v.dtype)


class AttentionMaps(NamedTuple):
    """The maps of one call.

    Attributes:
        probabilities: P, (B, H, N, N); rows sum to one (before dropout).
        mixed: A, (B, H, N, N), which meets the values; P itself where nothing is mixed.
    """

    probabilities: Tensor
    mixed: Tensor


def explicit_attention_maps(
    q: Tensor,
    k: Tensor,
    *,
    scale: float,
    pre_weight: Tensor | None = None,
    pre_bias: Tensor | None = None,
    post_weight: Tensor | None = None,
    post_bias: Tensor | None = None,
    map_norm: nn.Module | None = None,
    mix_scale: float = 1.0,
    dropout_p: float = 0.0,
    dropout_position: DropoutPosition = "softmax",
) -> AttentionMaps:
    """The maps of head-mixing attention, in at least fp32.

    Arguments and effects are those of :func:`explicit_head_mixing_attention`; autocast applies.

    Returns:
        P and A.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    logits = scale * (q.to(dtype) @ k.to(dtype).transpose(-2, -1))
    probabilities = mix_heads(logits, pre_weight, pre_bias).softmax(dim=-1)
    maps = probabilities
    if dropout_position == "softmax":
        maps = F.dropout(maps, dropout_p)
    maps = mix_heads(maps, post_weight, post_bias)
    maps = normalize_maps(maps, map_norm)
    if mix_scale != 1.0:
        maps = mix_scale * maps
    if dropout_position == "mix":
        maps = F.dropout(maps, dropout_p)
    return AttentionMaps(probabilities, maps)


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
    mixed = torch.matmul(weight.to(maps.dtype), maps.flatten(2)).view_as(maps)
    return mixed if bias is None else mixed + bias.to(maps.dtype)[:, None, None]


def normalize_maps(maps: Tensor, norm: nn.Module | None) -> Tensor:
    """Normalise (B, H, N, N) maps: a LayerNorm sees the heads as its last dimension."""
    if norm is None:
        return maps
    if isinstance(norm, nn.LayerNorm):
        return norm(maps.movedim(1, -1)).movedim(-1, 1)
    return norm(maps)
