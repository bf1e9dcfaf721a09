"""Prediction with a PyTorch model and the pipelines of its config."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from mmseg.models import BaseSegmentor

from ..errors import UserError
from .arrays import both_classes
from .augmented_views import ProbabilityTTAModel
from .pipeline import PredictionPipeline, prediction_steps

#: Types of automatic mixed precision, by their names in ``tools/train.py --amp``.
AMP_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class TorchSegmentor:
    """A segmentor with the steps before and after it.

    Args:
        model: Segmentor of :func:`~mmseg_deepvit.inference.load_segmentor`.
        amp: Key of :data:`AMP_TYPES`; None computes in float32.

    Attributes:
        dataset_meta: Classes and palette.

    Raises:
        UserError: The config has no test pipeline that loads an image, or ``amp`` is no such key.
    """

    def __init__(self, model: BaseSegmentor, amp: str | None = None) -> None:
        if amp is not None and amp not in AMP_TYPES:
            raise UserError(f"amp is {amp!r}; give one of {', '.join(AMP_TYPES)}, or None")
        self.model = model
        self.dataset_meta: dict[str, Any] = model.dataset_meta
        self._pipeline = PredictionPipeline(prediction_steps(model.cfg))
        self._amp = amp

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Read an image file by the config's test pipeline, (H, W, channels)."""
        return self._pipeline.read(path)

    def decode(self, data: bytes, name: str) -> np.ndarray:
        """Read the content of an image file as :meth:`read` does; ``name`` is for errors."""
        return self._pipeline.decode(data, name)

    def check(self, image: Any) -> None:
        """Raise UserError for an array that is not like those of :meth:`read`."""
        mean = getattr(self.model.data_preprocessor, "mean", None)
        self._pipeline.check(image, None if mean is None else len(mean))

    @torch.no_grad()
    def run(
        self, image: np.ndarray, tta: bool, probabilities: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Segment one image.

        Args:
            image: Array as :meth:`read` gives it.
            tta: Whether to average the views of the config's ``tta_pipeline``.
            probabilities: Whether to return them.

        Returns:
            Class indices, (H, W), and probabilities, (classes, H, W), float32, or None.

        Raises:
            UserError: The model gives NaN or infinity, or the config has no ``tta_pipeline``.
        """
        with self._autocast():
            if tta:
                (sample,) = self._tta_model.test_step(self._tta_pipeline.batch(image))
                scores = sample.seg_probabilities.data
            else:
                (sample,) = self.model.test_step(self._pipeline.batch(image))
                scores = sample.seg_logits.data
        if not scores.isfinite().all():
            raise UserError("the model gives NaN or infinity: look at data_preprocessor")
        labels = sample.pred_sem_seg.data.reshape(scores.shape[1:]).cpu().numpy()
        if not probabilities:
            return labels, None
        if not tta and len(scores) > 1:
            scores = scores.float().softmax(dim=0)
        return labels, both_classes(scores)

    @cached_property
    def _tta_model(self) -> ProbabilityTTAModel:
        return ProbabilityTTAModel(module=self.model)

    @cached_property
    def _tta_pipeline(self) -> PredictionPipeline:
        return PredictionPipeline(prediction_steps(self.model.cfg, "tta_pipeline"))

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._amp is None:
            return nullcontext()
        device = next(self.model.parameters()).device
        return torch.autocast(device.type, AMP_TYPES[self._amp])
