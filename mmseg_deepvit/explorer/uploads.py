"""Images that a user gives to the page: limits of their size, and what is too large to show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..datasets.damage import data_error
from ..inference.arrays import resize_by_area

#: Largest upload, in bytes.
MOST_BYTES = 64 * 2**20
#: Longest side of an image for the model, in pixels.
MOST_SIDE = 2048
#: Largest number of logits at the image's size: classes times pixels, half a GiB in fp32.
MOST_LOGITS = 2**27


def read_upload(data: bytes, name: str, decode: Callable[[bytes, str], np.ndarray]) -> np.ndarray:
    """Decode an upload.

    Args:
        data: Content of the file.
        name: Name of the file, for errors.
        decode: Function from content and name to an image as the model takes it.

    Returns:
        What ``decode`` returns, (H, W, channels).

    Raises:
        UserError: The file is too large or empty, or no image that the model takes.
    """
    if len(data) > MOST_BYTES:
        said = f"has {len(data) / 2**20:.0f} MiB, and an upload at most {MOST_BYTES // 2**20}"
        raise data_error(name, said, "scale the image down")
    if not data:
        raise data_error(name, "is empty", "choose another file")
    return decode(data, name)


def shrink(image: np.ndarray, num_classes: int) -> np.ndarray:
    """Scale an image down where its segmentation would take too much memory or time.

    Args:
        image: Image (H, W, channels), uint8 or float32.
        num_classes: Number of classes that are predicted at each pixel.

    Returns:
        The image itself, or a smaller one of the same proportions.
    """
    height, width = image.shape[:2]
    by_memory = (MOST_LOGITS / num_classes / (height * width)) ** 0.5
    factor = min(1.0, MOST_SIDE / max(height, width), by_memory)
    if factor == 1:
        return image
    size = (max(1, int(height * factor)), max(1, int(width * factor)))
    return resize_by_area(image, size)
