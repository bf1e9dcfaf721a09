"""Slide inference with several windows at a time, prediction of scored classes, whole regions.

Reference: mmsegmentation ``mmseg/models/segmentors/encoder_decoder.py``, which runs windows one by
one and pads each result to the size of the image.
Deviations: none in result but rounding with the default settings.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import torch
from mmseg.models import BaseSegmentor, EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from .regions import NAMES, RegionRules
from .windows import WEIGHTS, average_windows, check_weights

#: Names of ``test_cfg``; heads may read further ones.
_WINDOWS = ("crop_size", "stride", "window_batch_size", "window_weights")
_SETTINGS = ("mode", *_WINDOWS, "unscored_classes", *NAMES)


@MODELS.register_module()
class SlidingEncoderDecoder(EncoderDecoder):
    """``EncoderDecoder`` with more settings in ``test_cfg``.

    * ``window_batch_size`` is the number of windows (of every image in the batch) that the model
      takes at a time, 1 by default.
    * ``window_weights`` is ``'constant'``, or ``'gaussian'`` for windows that count most in their
      middle (:func:`~mmseg_deepvit.inference.windows.window_weights`).
    * ``unscored_classes`` is the number of outputs that the heads have after the data set's last
      class, 0 by default; no label names them, and prediction skips them.
    * ``keep_largest_region`` and ``fill_holes``, False by default, change the predicted labels of
      each class but 0 (:class:`~mmseg_deepvit.inference.regions.RegionRules`), not the logits.

    Raises:
        ValueError: A setting has another kind of value, or a name close to one of these.

    Example:
        >>> test_cfg = dict(mode='slide', crop_size=(512, 512), stride=(341, 341),
        ...                 window_batch_size=8, window_weights='gaussian')
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = self.test_cfg or {}
        for name in settings:
            close = get_close_matches(name, _SETTINGS, n=1, cutoff=0.8)
            if name not in _SETTINGS and close:
                raise ValueError(f"test_cfg.{name} is no setting: did you mean {close[0]}?")
        RegionRules.of(settings)  # raises
        check_weights(settings.get("window_weights", WEIGHTS[0]))

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
            ValueError: ``window_batch_size`` is below 1, or ``window_weights`` unknown.
        """
        at_a_time = self.test_cfg.get("window_batch_size", 1)
        if not isinstance(at_a_time, int) or at_a_time < 1:
            raise ValueError(f"test_cfg.window_batch_size must be at least 1, got {at_a_time!r}")

        def run(crops: Tensor) -> Tensor:
            # The head resizes its logits to a torch.Size, here to the window, not to the image.
            meta = {**batch_img_metas[0], "img_shape": crops.shape[2:]}
            return self.encode_decode(crops, [meta] * len(crops))

        crop_size, stride = self.test_cfg.crop_size, self.test_cfg.stride
        weights = self.test_cfg.get("window_weights", "constant")
        return average_windows(run, inputs, crop_size, stride, at_a_time, weights)

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Make each image's labels, (1, H, W), from logits, (B, classes, h, w), as mmseg does.

        Raises:
            ValueError: ``keep_largest_region`` or ``fill_holes`` is neither True nor False.
        """
        samples: list[SegDataSample] = super().postprocess_result(seg_logits, data_samples)
        for sample in samples:
            sample.pred_sem_seg.data = self.refine_labels(sample.pred_sem_seg.data)
        return samples

    def refine_labels(self, labels: Tensor) -> Tensor:
        """Apply ``keep_largest_region`` and ``fill_holes`` to labels, (1, H, W)."""
        rules = RegionRules.of(self.test_cfg)
        if not rules:
            return labels
        refined = rules.apply(labels[0].cpu().numpy())
        return torch.from_numpy(refined)[None].to(labels)


def scored_classes(segmentor: BaseSegmentor) -> int:
    """Number of classes that a segmentor of any kind predicts."""
    return int(getattr(segmentor, "scored_classes", segmentor.num_classes))
