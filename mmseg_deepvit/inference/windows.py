"""Windows over an image: where they lie, what each pixel of them counts, and their average."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

#: Top, left, bottom and right of a window, in pixels.
Window = tuple[int, int, int, int]
#: Kinds of weights: all pixels alike, or those in the middle most.
WEIGHTS = ("constant", "gaussian")
#: Standard deviation of the Gaussian as a share of a side, as in nnU-Net and MONAI.
_SIGMA = 1 / 8
#: Least weight, as in MONAI: corners must not vanish in half precision.
_LEAST = 1e-3


def check_weights(kind: Any) -> None:
    """Raise ValueError unless a value is one of :data:`WEIGHTS`."""
    if kind not in WEIGHTS:
        known = " or ".join(map(repr, WEIGHTS))
        raise ValueError(f"test_cfg.window_weights must be {known}, got {kind!r}")


def window_weights(kind: str, size: tuple[int, int]) -> Tensor:
    """What the pixels of a window count in the average.

    Args:
        kind: ``'constant'``, 1 everywhere, or ``'gaussian'``: 1 in the middle, with a standard
            deviation of an eighth of each side, and at least 0.001.
        size: Height and width of the window.

    Returns:
        (height, width), float32; (1, 1) for constant weights.

    Raises:
        ValueError: ``kind`` is another name.
    """
    check_weights(kind)
    if kind == "constant":
        return torch.ones(1, 1)
    rows, columns = (
        torch.exp(-0.5 * ((torch.arange(side) - (side - 1) / 2) / (_SIGMA * side)) ** 2)
        for side in size
    )
    return torch.outer(rows, columns).clamp(min=_LEAST)


def average_windows(
    run: Callable[[Tensor], Tensor],
    inputs: Tensor,
    crop_size: tuple[int, int],
    stride: tuple[int, int],
    at_a_time: int = 1,
    weights: str = "constant",
) -> Tensor:
    """Run a model on the windows of images and average the results where they overlap.

    Args:
        run: Function from crops, (B', C, h, w), to logits, (B', K, h, w).
        inputs: Images, (B, C, H, W).
        crop_size: Height and width of a window.
        stride: Step down and across.
        at_a_time: Number of windows of each image that ``run`` takes at a time.
        weights: One of :data:`WEIGHTS`.

    Returns:
        (B, K, H, W).

    Raises:
        ValueError: ``weights`` is unknown.
    """
    batch, _, height, width = inputs.shape
    windows = list(find_windows((height, width), crop_size, stride))
    # All windows have one size.
    size = (min(crop_size[0], height), min(crop_size[1], width))
    weight = window_weights(weights, size).to(inputs)
    count = inputs.new_zeros(1, 1, height, width)
    total = count
    for start in range(0, len(windows), at_a_time):
        chosen = windows[start : start + at_a_time]
        logits = run(torch.cat([inputs[:, :, y1:y2, x1:x2] for y1, x1, y2, x2 in chosen]))
        if start == 0:
            total = inputs.new_zeros(batch, logits.shape[1], height, width)
        for (y1, x1, y2, x2), part in zip(chosen, torch.split(logits, batch), strict=True):
            total[:, :, y1:y2, x1:x2] += weight * part
            count[:, :, y1:y2, x1:x2] += weight
    return total / count


def find_windows(
    size: tuple[int, int], crop_size: tuple[int, int], stride: tuple[int, int]
) -> Iterator[Window]:
    """Cover an image with windows, row by row; the last ones are moved back into the image.

    Args:
        size: Height and width of the image.
        crop_size: Height and width of a window; windows are cut to a smaller image.
        stride: Step down and across.

    Yields:
        Top, left, bottom and right.
    """
    tops, lefts = (
        [min(start, max(side - crop, 0)) for start in range(0, max(side - crop, 0) + by, by)]
        for side, crop, by in zip(size, crop_size, stride, strict=True)
    )
    for top in tops:
        for left in lefts:
            bottom, right = min(top + crop_size[0], size[0]), min(left + crop_size[1], size[1])
            yield top, left, bottom, right
