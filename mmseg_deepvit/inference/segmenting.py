"""Segmentation of one image by a loaded model."""

from __future__ import annotations

import numpy as np
from mmseg.apis import inference_model
from mmseg.models import BaseSegmentor

from ..errors import UserError


def segment_image(model: BaseSegmentor, image: np.ndarray) -> np.ndarray:
    """Predict the class of each pixel.

    Args:
        model: Segmentor of :func:`~mmseg_deepvit.inference.load_segmentor`.
        image: Image, (H, W, 3), uint8, BGR.

    Returns:
        Class indices, (H, W).

    Raises:
        UserError: The model gives values that are not finite.
    """
    result = inference_model(model, image)
    if not result.seg_logits.data.isfinite().all():
        raise UserError("the model gives NaN or infinity: look at data_preprocessor")
    return np.asarray(result.pred_sem_seg.data[0].cpu())
