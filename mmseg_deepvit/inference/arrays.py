"""Arrays of prediction: images that a caller gives, and probabilities that come back."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from torch import Tensor

from ..errors import UserError

#: Channels of common images, which are read as B, G, R.
RGB_CHANNELS = 3


def check_image(image: Any, channels: int | None = 3, is_plain: bool = True) -> None:
    """Refuse an array that no file could have given.

    Args:
        image: Anything.
        channels: Number of channels that the model takes; None if it is not known.
        is_plain: Whether the model takes common images, uint8 and BGR.

    Raises:
        UserError: The message says what to convert.
    """
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        raise UserError(f"an image is of type {kind}; give a path, or a NumPy array (H, W, C)")
    if image.ndim != 3 or 0 in image.shape or channels not in (None, image.shape[2]):
        wanted = f"(H, W, {channels or 'C'}){' in BGR order' if is_plain else ''}"
        remedy = "convert it"
        if image.ndim == 2 and channels == 1:
            remedy = "image[..., None] adds the axis"
        elif channels in (None, 3) and (image.ndim == 2 or image.shape[2:] == (1,)):
            remedy = "cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) repeats grey"
        elif channels == 3 and image.shape[2:] == (4,):
            remedy = "image[..., :3] drops transparency"
        elif image.ndim == 4:
            remedy = "give several images as a list"
        raise UserError(f"an image has shape {image.shape}, and the model takes {wanted}; {remedy}")
    if is_plain and image.dtype != np.uint8:
        raise UserError(
            f"an image has dtype {image.dtype}, and the model takes uint8 from 0 to 255; scale it "
            "from its own range and convert it"
        )


def resize_by_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image by the mean of areas, with any number of channels; OpenCV takes four.

    Args:
        image: (H, W, C), uint8 or float32.
        size: Height and width, in pixels.

    Returns:
        (height, width, C), of the same dtype.
    """
    fours = [np.ascontiguousarray(image[..., i : i + 4]) for i in range(0, image.shape[2], 4)]
    parts = [cv2.resize(four, size[::-1], interpolation=cv2.INTER_AREA) for four in fours]
    return np.concatenate([part.reshape(*size, -1) for part in parts], axis=2)


def both_classes(probabilities: Tensor) -> np.ndarray:
    """Probabilities of all classes, (K, H, W); of one, (1, H, W), it is the second of two."""
    found: np.ndarray = probabilities.float().cpu().numpy()
    return found if len(found) > 1 else np.concatenate([1 - found, found])
