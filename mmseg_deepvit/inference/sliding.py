"""Prediction by windows that go through the model several at a time, and of scored classes only.

Reference: mmsegmentation ``mmseg/models/segmentors/encoder_decoder.py``, whose windows go one by
one, each padded to the size of the image.
Deviations: none in result but rounding, as long as ``unscored_classes`` is 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmseg.models import BaseSegmentor, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor

#: A window: its top, left, bottom and right, in pixels.
Window = tuple[int, int, int, int]


@MODELS.register_module()
class SlidingEncoderDecoder(EncoderDecoder):
    """``EncoderDecoder`` whose ``test_cfg`` takes two settings more.

    ``window_batch_size``: windows (of all images of a batch) go through the model so many at a
    time; 1 where it is not given. ``unscored_classes``: the heads have so many outputs after the
    data set's last class, which no label names and prediction passes over; 0 where it is not given.
    All else is ``EncoderDecoder``'s.

    Example:
        >>> test_cfg = dict(mode='slide', crop_size=(512, 512), stride=(341, 341),
        ...                 window_batch_size=8)
    """

    @property
    def scored_classes(self) -> int:
        """Number of classes that are predicted: the first of the heads' outputs.

        Raises:
            ValueError: ``unscored_classes`` is negative, or leaves no class.
        """
        unscored = (self.test_cfg or {}).get("unscored_classes", 0)
        if not isinstance(unscored, int) or not 0 <= unscored < self.num_classes:
            raise ValueError(
                "test_cfg.unscored_classes must be at least 0 and below the head's "
                f"{self.num_classes} classes, got {unscored!r}"
            )
        return self.num_classes - unscored

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logits of the scored classes.

        Args:
            inputs: Normalised images, (B, C, H, W).
            batch_img_metas: mmseg's meta information of each image.

        Returns:
            (B, scored classes, H, W); of a head with one output for two classes, that one.
        """
        return super().encode_decode(inputs, batch_img_metas)[:, : self.scored_classes]

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Mean logits of overlapping windows.

        Args:
            inputs: Normalised images, (B, C, H, W).
            batch_img_metas: mmseg's meta information of each image; left as it is.

        Returns:
            (B, classes, H, W).

        Raises:
            ValueError: ``window_batch_size`` is below 1.
        """
        at_a_time = self.test_cfg.get("window_batch_size", 1)
        if not isinstance(at_a_time, int) or at_a_time < 1:
            raise ValueError(f"test_cfg.window_batch_size must be at least 1, got {at_a_time!r}")
        batch, _, height, width = inputs.shape
        windows = list(find_windows((height, width), self.test_cfg.crop_size, self.test_cfg.stride))
        channels = min(self.out_channels, self.scored_classes)
        total = inputs.new_zeros(batch, channels, height, width)
        count = inputs.new_zeros(1, 1, height, width)
        for start in range(0, len(windows), at_a_time):
            chosen = windows[start : start + at_a_time]
            crops = torch.cat([inputs[:, :, y1:y2, x1:x2] for y1, x1, y2, x2 in chosen])
            # A torch.Size tells the head to bring its logits to the window, not to the image.
            meta = {**batch_img_metas[0], "img_shape": crops.shape[2:]}
            logits = self.encode_decode(crops, [meta] * len(crops)).split(batch)
            for (y1, x1, y2, x2), part in zip(chosen, logits, strict=True):
                total[:, :, y1:y2, x1:x2] += part
                count[:, :, y1:y2, x1:x2] += 1
        return total / count


def scored_classes(segmentor: BaseSegmentor) -> int:
    """Number of classes that a segmentor of any kind predicts."""
    return getattr(segmentor, "scored_classes", segmentor.num_classes)


def find_windows(
    size: tuple[int, int], crop_size: tuple[int, int], stride: tuple[int, int]
) -> Iterator[Window]:
    """Windows that cover an image, row by row; those at its end are moved back into it.

    Args:
        size: Height and width of the image.
        crop_size: Height and width of a window; where the image is smaller, so is the window.
        stride: Step down and across.

    Yields:
        Top, left, bottom and right.
    """
    tops, lefts = (
        [
            min(step * by, max(whole - crop, 0))
            for step in range(max(whole - crop + by - 1, 0) // by + 1)
        ]
        for whole, crop, by in zip(size, crop_size, stride, strict=True)
    )
    for top in tops:
        for left in lefts:
            bottom, right = min(top + crop_size[0], size[0]), min(left + crop_size[1], size[1])
            yield top, left, bottom, right
