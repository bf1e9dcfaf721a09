"""Gradients of a call of streamed attention."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .pass_settings import PassSettings


@dataclass
class Gradients:
    """Gradients of a call; those of H and H×H parameters in float64, None where there is none.

    Attributes:
        q: (B, H, N, d).
        k: (B, H, N, d).
        v: (B, H, N, d).
        pre: (H, H).
        post: (H, H), of ``PassSettings.post``.
        bias: (H,), of ``PassSettings.bias``.
        norm_weight: (H,).
        norm_bias: (H,), of ``LayerNormOverHeads.map_bias``.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    pre: Tensor | None
    post: Tensor | None
    bias: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None


@dataclass(frozen=True)
class Coupling:
    """What batch statistics of the maps add to the gradient of the probabilities P.

    Attributes:
        products: (H, H): products @ P is added.
        constant: (H,), added as it is; None where the softmax would not see it.
    """

    products: Tensor
    constant: Tensor | None


def empty_gradients(q: Tensor, k: Tensor, v: Tensor, settings: PassSettings) -> Gradients:
    """Memory for the gradients of inputs, zeros for those of the parameters there are."""
    heads = q.shape[1]

    def zeros(there: object, *shape: int) -> Tensor | None:
        return None if there is None else q.new_zeros(shape, dtype=torch.float64)

    norm = settings.norm
    return Gradients(
        torch.empty_like(q),
        torch.empty_like(k),
        torch.empty_like(v),
        zeros(settings.pre, heads, heads),
        zeros(settings.post, heads, heads),
        zeros(settings.bias, heads),
        zeros(norm, heads),
        zeros(norm and norm.map_bias, heads),
    )
