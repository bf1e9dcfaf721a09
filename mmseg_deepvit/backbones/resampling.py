"""Resizing as a matrix product, for exported graphs whose sizes vary.

Export formats have no ``F.interpolate`` for sizes that vary, so its filters are computed here with
standard operators.

Reference: PyTorch's ``aten/src/ATen/native/cpu/UpSampleKernel.cpp``: the triangle filter, and Keys'
cubic with a = -½ with antialiasing and -¾ without.
"""

from __future__ import annotations

import torch
from torch import Tensor


def resampling_weights(
    old: int, new: int, mode: str, like: Tensor, antialias: bool = False
) -> Tensor:
    """The matrix that resizes a row of ``old`` values to ``new``.

    Args:
        old: Number of values.
        new: Number of values of the result: an integer, or a size of the exported graph.
        mode: Interpolation: ``'bicubic'``, ``'bilinear'`` or ``'nearest'``.
        like: Tensor with the dtype and the device of the result.
        antialias: Whether bicubic and bilinear average over the values where ``new`` is smaller.

    Returns:
        (new, old); each row sums to one.
    """
    targets = torch.arange(new, dtype=like.dtype, device=like.device)[:, None]
    sources = torch.arange(-2, old + 2, dtype=like.dtype, device=like.device)
    # The size is read from a tensor: some export formats lose a division by a traced size.
    ratio = old / (targets[-1:] + 1)
    if mode == "nearest":
        return ((targets * ratio).floor() == sources[2:-2]).to(like.dtype)
    distance = ((sources + 0.5) - (targets + 0.5) * ratio).abs()
    if antialias:
        weights = _filter(mode, distance[:, 2:-2] / ratio.clamp(min=1), -0.5)
        return weights / weights.sum(dim=1, keepdim=True)
    # Beyond its ends, a row repeats its first and its last value.
    weights = _filter(mode, distance, -0.75)
    is_first, is_last = (sources[2:-2] == end for end in (0, old - 1))
    before, after = (part.sum(1, keepdim=True) for part in (weights[:, :2], weights[:, -2:]))
    return weights[:, 2:-2] + before * is_first + after * is_last


def _filter(mode: str, x: Tensor, a: float) -> Tensor:
    """The triangle filter, or Keys' cubic with parameter a, at distances x ≥ 0."""
    if mode == "bilinear":
        return (1 - x).clamp(min=0)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
