"""Gradients of a streamed pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .pass_settings import PassSettings


@dataclass
class Gradients:
    """Gradients of a call: inputs in their dtype, parameters in float64 or None if absent.

    Attributes:
        q: Gradient of the queries, (B, H, N, d).
        k: Gradient of the keys, (B, H, N, d).
        v: Gradient of the values, (B, H, N, d).
        pre: Gradient of ``PassSettings.pre``, (H, H).
        post: Gradient of ``PassSettings.post``, (H, H).
        bias: Gradient of ``PassSettings.bias``, (H,).
        norm_weight: Gradient of ``LayerNormOverHeads.weight``, (H,).
        norm_bias: Gradient of ``LayerNormOverHeads.map_bias``, (H,).
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
    """Share of the batch statistics of the maps in the gradient of the probabilities P.

    Attributes:
        products: Factor C, (H, H); the gradient of P gains C P.
        constant: Second summand, (H,); None without dropout, where the softmax cancels it.
    """

    products: Tensor
    constant: Tensor | None


def empty_gradients(q: Tensor, k: Tensor, v: Tensor, settings: PassSettings) -> Gradients:
    """Make uninitialised gradients of the inputs, and zeros for the parameters that exist."""
    heads = q.shape[1]

    def zeros(parameter: object, *shape: int) -> Tensor | None:
        return None if parameter is None else q.new_zeros(shape, dtype=torch.float64)

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
