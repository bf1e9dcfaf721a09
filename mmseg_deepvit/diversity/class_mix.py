"""Shares of the classes in each patch of a label map: the targets of the mixing loss.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753, where the
target of a patch in a mixed image is the class of the image that the patch came from.
Deviations: the dense form. A label map says more than a class: the target of a patch is the share
of each class among its pixels, from either image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_class_mix(
    labels: Tensor,
    grid: tuple[int, int],
    num_classes: int,
    ignore_index: int | None = 255,
    patch_size: tuple[int, int] | None = None,
) -> Tensor:
    """Compute the share of each class among the pixels of each patch that are not ignored.

    Args:
        labels: Class of each pixel, (B, H, W), an integer type.
        grid: Number of patches down and across, (h, w). Patches begin at the upper left corner and
            may reach beyond the image; there they hold no pixels.
        num_classes: Number of classes, K; labels are 0 to K - 1.
        ignore_index: Label of ignored pixels; None for none.
        patch_size: Height and width of a patch in pixels. None infers the size from the grid: a
            power of two if one fits, else the smallest that fits.

    Returns:
        (B, h·w, K), fp32; rows sum to one, or to zero if all pixels of the patch are ignored.

    Raises:
        ValueError: ``labels`` is not (B, H, W), or the patches do not cover it.
        TypeError: ``labels`` is not of an integer type.
    """
    if labels.ndim != 3:
        raise ValueError(f"labels must be of shape (batch, H, W), got {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be of an integer type, got {labels.dtype}")
    height, width = labels.shape[1:]
    ph, pw = patch_size or _infer_patch_size((height, width), grid)
    bottom, right = grid[0] * ph - height, grid[1] * pw - width
    if bottom < 0 or right < 0:
        raise ValueError(
            f"{grid[0]}×{grid[1]} patches of {ph}×{pw} do not cover labels of {height}×{width}"
        )
    # One bin after the classes counts ignored pixels. Counting needs no one-hot map, and a label
    # outside the classes is an index error.
    index = labels.long()
    if ignore_index is not None:
        index = index.masked_fill(labels == ignore_index, num_classes)
    index = F.pad(index, (0, right, 0, bottom), value=num_classes)
    index = index.reshape(-1, grid[0], ph, grid[1], pw).transpose(2, 3).flatten(3).flatten(1, 2)
    counts = torch.zeros(*index.shape[:2], num_classes + 1, device=labels.device)
    counts.scatter_add_(2, index, counts.new_ones(()).expand_as(index))
    counts = counts[..., :num_classes]
    return counts / counts.sum(-1, keepdim=True).clamp(min=1)


def _infer_patch_size(size: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int]:
    """Infer the likeliest patch with which the grid just covers the image; squares come first."""
    least = -(-size[0] // grid[0]), -(-size[1] // grid[1])
    side = max(least)
    for p in (1 << (side - 1).bit_length(), side):
        if grid == (-(-size[0] // p), -(-size[1] // p)):
            return p, p
    return least
