"""Resizing as a matrix, for graphs whose sizes are not known when they are written.

Reference: PyTorch's ``aten/src/ATen/native/cpu/UpSampleKernel.cpp`` for the filters of
``F.interpolate``: the triangle and Keys' cubic, with a = -½ where it antialiases and -¾ where not.
Deviations: the weights are written out, as standard operators, in place of operators that export
formats do not have for sizes that vary.
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
        new: Number wanted; a size of the exported graph, or an integer.
        mode: ``'bicubic'``, ``'bilinear'`` or ``'nearest'``.
        like: Has the dtype and the device of the result.
        antialias: Whether the first two average over what fewer values leave out.

    Returns:
        (new, old); each row sums to one.
    """
    targets = torch.arange(new, dtype=like.dtype, device=like.device)[:, None]
    sources = torch.arange(-2, old + 2, dtype=like.dtype, device=like.device)
    # Read off the tensor: divisions by a traced size do not stay in every kind of graph.
    ratio = old / (targets[-1:] + 1)
    if mode == "nearest":
        return ((targets * ratio).floor() == sources[2:-2]).to(like.dtype)
    distance = ((sources + 0.5) - (targets + 0.5) * ratio).abs()
    if antialias:
        weights = _filter(mode, distance[:, 2:-2] / ratio.clamp(min=1), -0.5)
        return weights / weights.sum(dim=1, keepdim=True)
    # Beyond its ends a row goes on with its first and its last value.
    before, inside, after = _filter(mode, distance, -0.75).split([2, old, 2], dim=1)
    is_first, is_last = (sources[2:-2] == end for end in (0, old - 1))
    return inside + before.sum(1, keepdim=True) * is_first + after.sum(1, keepdim=True) * is_last


def _filter(mode: str, x: Tensor, a: float) -> Tensor:
    """The triangle, or Keys' cubic of a parameter a, at distances x ≥ 0."""
    if mode == "bilinear":
        return (1 - x).clamp(min=0)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
