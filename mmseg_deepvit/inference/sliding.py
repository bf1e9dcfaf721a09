"""Slide inference with several windows at a time, and prediction of scored classes only.

Reference: mmsegmentation ``mmseg/models/segmentors/encoder_decoder.py``, which runs windows one by
one and pads each result to the size of the image.
Deviations: none in result but rounding, if ``unscored_classes`` is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmseg.models import BaseSegmentor, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor

#: Top, left, bottom and right of a window, in pixels.
Window = tuple[int, int, int, int]


@MODELS.register_module()
class SlidingEncoderDecoder(EncoderDecoder):
    """``EncoderDecoder`` with two more settings in ``test_cfg``.

    ``window_batch_size`` is the number of windows (of every image in the batch) that the model
    takes at a time, 1 by default. ``unscored_classes`` is the number of outputs that the heads have
    after the data set's last class, 0 by default; no label names them, and prediction skips them.

    Example:
        >>> test_cfg = dict(mode='slide', crop_size=(512, 512), stride=(341, 341),
        ...                 window_batch_size=8)
    """

    @property
    def scored_classes(self) -> int:
        """Number of predicted classes, which are the first of the heads' outputs.

        Raises:
            ValueError: ``unscored_classes`` is negative, or leaves no class.
        """
        unscored: Any = (self.test_cfg or {}).get("unscored_classes", 0)
        if not isinstance(unscored, int) or not 0 <= unscored < self.num_classes:
            raise ValueError(
                "test_cfg.unscored_classes must be at least 0 and below the head's "
                f"{self.num_classes} classes, got {unscored!r}"
            )
        return int(self.num_classes) - unscored

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict[str, Any]]) -> Tensor:
        """Compute the logits of the scored classes.

        Args:
            inputs: Normalised images, (B, C, H, W).
            batch_img_metas: mmseg's meta information of each image.

        Returns:
            (B, scored classes, H, W), or (B, 1, H, W) of a head with one output for two classes.
        """
        logits: Tensor = super().encode_decode(inputs, batch_img_metas)
        return logits[:, : self.scored_classes]

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict[str, Any]]) -> Tensor:
        """Average the logits of overlapping windows.

        Args:
            inputs: Normalised images, (B, C, H, W).
            batch_img_metas: mmseg's meta information of each image; not changed.

        Returns:
            (B, classes, H, W).

        Raises:
            ValueError: ``window_batch_size`` is below 1.
        """
        at_a_time = self.test_cfg.get("window_batch_size", 1)
        if not isinstance(at_a_time, int) or at_a_time < 1:
            raise ValueError(f"test_cfg.window_batch_size must be at least 1, got {at_a_time!r}")

        def run(crops: Tensor) -> Tensor:
            # The head resizes its logits to a torch.Size, here to the window, not to the image.
            meta = {**batch_img_metas[0], "img_shape": crops.shape[2:]}
            return self.encode_decode(crops, [meta] * len(crops))

        return average_windows(
            run, inputs, self.test_cfg.crop_size, self.test_cfg.stride, at_a_time
        )


def scored_classes(segmentor: BaseSegmentor) -> int:
    """Number of classes that a segmentor of any kind predicts."""
    return int(getattr(segmentor, "scored_classes", segmentor.num_classes))


def average_windows(
    run: Callable[[Tensor], Tensor],
    inputs: Tensor,
    crop_size: tuple[int, int],
    stride: tuple[int, int],
    at_a_time: int = 1,
) -> Tensor:
    """Run a model on the windows of images and average the results where they overlap.

    Args:
        run: Function from crops, (B', C, h, w), to logits, (B', K, h, w).
        inputs: Images, (B, C, H, W).
        crop_size: Height and width of a window.
        stride: Step down and across.
        at_a_time: Number of windows of each image that ``run`` takes at a time.

    Returns:
        (B, K, H, W).
    """
    batch, _, height, width = inputs.shape
    windows = list(find_windows((height, width), crop_size, stride))
    count = inputs.new_zeros(1, 1, height, width)
    total = count
    for start in range(0, len(windows), at_a_time):
        chosen = windows[start : start + at_a_time]
        logits = run(torch.cat([inputs[:, :, y1:y2, x1:x2] for y1, x1, y2, x2 in chosen]))
        if start == 0:
            total = inputs.new_zeros(batch, logits.shape[1], height, width)
        for (y1, x1, y2, x2), part in zip(chosen, torch.split(logits, batch), strict=True):
            total[:, :, y1:y2, x1:x2] += part
            count[:, :, y1:y2, x1:x2] += 1
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
