"""Images prepared for a backbone by the config's test pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmseg.models import BaseSegmentor
from mmseg.registry import TRANSFORMS
from timm.layers.helpers import to_2tuple
from torch import Tensor

from ..errors import UserError
from .arrays import RGB_CHANNELS
from .pipeline import PredictionPipeline, prediction_steps


class ModelInput(NamedTuple):
    """Input of a backbone.

    Attributes:
        images: Normalised image, (1, channels, H, W), on the model's device.
        size: Height and width of the image without the padding of ``data_preprocessor``.
    """

    images: Tensor
    size: tuple[int, int]


def training_crop(cfg: Config) -> tuple[int, int] | None:
    """Read from a config the height and width, in pixels, of the images in training.

    Training pads its batches to ``model.data_preprocessor.size``. Without it the crop is
    ``model.test_cfg.crop_size``: windows of slide inference have the size of training. One number
    stands for both sides.

    Returns:
        Height and width, or None if the config has neither.

    Raises:
        UserError: The config's value is not one or two numbers of pixels.
    """
    size = (cfg.model.get("data_preprocessor") or {}).get("size")
    if size is None:
        size = (cfg.model.get("test_cfg") or {}).get("crop_size")
    if size is None:
        return None
    sides = to_2tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise UserError(
            f"the config's training crop is {size!r}; set model.data_preprocessor.size to height "
            "and width in pixels"
        )
    return sides[0], sides[1]


def input_channels(model: Mapping[str, Any]) -> int:
    """Number of channels that a segmentor's backbone takes, from ``model`` of its config."""
    channels: int = model["backbone"].get("in_channels", RGB_CHANNELS)
    return channels


def prepare_image(
    model: BaseSegmentor, image: np.ndarray, shape: int | tuple[int, int] | None = None
) -> ModelInput:
    """Resize and normalise an image as the config's test pipeline does.

    Args:
        model: Segmentor of :func:`~mmseg_deepvit.inference.load_segmentor`.
        image: Image as the config's test pipeline reads it, (H, W, channels).
        shape: Size after the pipeline: the limit of the longer side in pixels (proportions are
            kept), or exact height and width. None keeps the pipeline's size.

    Returns:
        The image for ``model.backbone``.

    Raises:
        UserError: The config has no ``test_pipeline``, or one that does not load images.
    """
    pipeline = PredictionPipeline(prediction_steps(model.cfg))

    def fit(results: dict[str, Any]) -> dict[str, Any]:
        height, width = results["img"].shape[:2]
        if isinstance(shape, tuple):
            resize = dict(type="Resize", scale=(shape[1], shape[0]), keep_ratio=False)
        elif shape is None or max(height, width) <= shape:
            return results
        else:
            resize = dict(type="Resize", scale=(shape, shape), keep_ratio=True)
        resized: dict[str, Any] = TRANSFORMS.build(resize)(results)
        return resized

    batch = pipeline.batch(image, fit)
    images = model.data_preprocessor(batch, training=False)["inputs"]
    height, width = batch["inputs"][0].shape[-2:]
    return ModelInput(images, (height, width))
