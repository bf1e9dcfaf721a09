"""Antialiased resizing as a matrix, for graphs whose sizes are not known when they are written.

Reference: PyTorch's ``aten/src/ATen/native/cpu/UpSampleKernel.cpp`` for the filters that
``F.interpolate(antialias=True)`` uses: Keys' cubic with a = -½ and the triangle.
Deviations: the weights are written out, as standard operators, in place of an operator that export
formats do not have for sizes that vary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def resampling_weights(old: int, new: int, mode: str, like: Tensor) -> Tensor:
    """The matrix that resizes a row of ``old`` values to ``new``.

    Args:
        old: Number of values.
        new: Number wanted; a size of the exported graph, or an integer.
        mode: ``'bicubic'`` or ``'bilinear'`` (both with antialiasing), or ``'nearest'``.
        like: Has the dtype and the device of the result.

    Returns:
        (new, old); each row sums to one.
    """
    targets = torch.arange(new, dtype=like.dtype, device=like.device)[:, None]
    sources = torch.arange(old, dtype=like.dtype, device=like.device)
    # Read off the tensor: divisions by a traced size do not stay in every kind of graph.
    ratio = old / (targets[-1:] + 1)
    if mode == "nearest":
        return ((targets * ratio).floor() == sources).to(like.dtype)
    distance = ((sources + 0.5) - (targets + 0.5) * ratio).abs() / ratio.clamp(min=1)
    weights = _cubic(distance) if mode == "bicubic" else (1 - distance).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -½ at distances x ≥ 0; zero from 2 on."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
