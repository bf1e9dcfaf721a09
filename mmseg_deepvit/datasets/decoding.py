"""Decoding of image and mask files; a file that would be misread is an error of one line."""

from __future__ import annotations

import io

import cv2
import mmcv
import numpy as np
from PIL import Image

from .damage import JPEG, NO_CLASS, DataError, check_whole, data_error
from .headers import check_header, turn


def decode_image(data: bytes, path: str) -> np.ndarray:
    """Decode an image as mmseg's training does, or refuse it.

    Args:
        data: Content of the file.
        path: Path of the file, for errors.

    Returns:
        (H, W, 3), uint8, BGR, turned upright by EXIF; transparency is dropped, grey repeated.

    Raises:
        DataError: The file is no image or cut off, or has more than one page, 8 bits a channel or
            179 million pixels.
    """
    check_whole(data, path)
    header = check_header(data, path)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise data_error(path, f"cannot be decoded ({error.err})", "replace the file") from error
    if image is None:
        raise data_error(path, "is no image, or a damaged one", "replace the file")
    if image.dtype != np.uint8:
        raise data_error(
            path,
            f"holds {image.dtype} and models take 8 bits a channel",
            "scale it from its own range to 0 to 255",
        )
    return turn(image, header.orientation) if header.turns else image


def decode_mask(data: bytes, path: str, backend: str = "pillow") -> np.ndarray:
    """Decode a label map.

    Args:
        data: Content of the file.
        path: Path of the file, for errors.
        backend: Name of mmcv's decoder.

    Returns:
        Labels as written in the file (indices of a palette), (H, W), uint8, turned upright by EXIF.

    Raises:
        DataError: The file is no label map, or has labels outside 0 to 255.
    """
    labels = decode_written(data, path, backend)
    if labels.ndim != 2:
        said = f"has {labels.shape[-1]} channels where one is expected"
        raise data_error(path, said, "save the mask as class indices, not as colours", NO_CLASS)
    outside = (labels < 0) | (labels > 255)
    if labels.dtype.kind not in "biu" or outside.any():
        worst = labels[outside][0] if outside.any() else labels.dtype
        raise data_error(
            path,
            f"holds {worst} where labels from 0 to 255 are expected",
            "save the mask with 8 bits",
            NO_CLASS,
        )
    return labels.astype(np.uint8)


def decode_written(data: bytes, path: str, backend: str = "pillow") -> np.ndarray:
    """Decode a mask into what is written in it: values, indices of a palette, or colours.

    Args:
        data: Content of the file.
        path: Path of the file, for errors.
        backend: Name of mmcv's decoder.

    Returns:
        (H, W), or (H, W, C) with C > 1 and colours as B, G, R; of any type, turned upright by EXIF.

    Raises:
        DataError: The file is no image, or its compression may have changed labels.
    """
    if data.startswith(JPEG):
        raise _lossy_error(path, "JPEG")
    check_whole(data, path)
    header = check_header(data, path)
    if header.lossy:
        raise _lossy_error(path, header.lossy)
    if header.grey:
        backend = "pillow"  # others scale such values too, each in another way
    try:
        labels: np.ndarray | None = mmcv.imfrombytes(data, flag="unchanged", backend=backend)
    except Exception as error:  # Pillow's decoders raise SyntaxError, struct.error and more
        raise data_error(path, "is no image, or a damaged one", "replace the file") from error
    if labels is None:
        raise data_error(path, "is no image, or a damaged one", "replace the file")
    if labels.ndim == 3 and labels.shape[2] == 1:
        labels = labels[..., 0]
    if header.grey:
        written, decoded = header.grey
        labels = np.rint(labels * (written / decoded)).astype(np.int64)
    return turn(labels, header.orientation) if header.turns else labels


def decode_colours(data: bytes, path: str) -> np.ndarray:
    """Decode a mask into colours, those of its palette where it has one.

    Args:
        data: Content of the file.
        path: Path of the file, for errors.

    Returns:
        (H, W, 3), uint8, RGB, turned upright by EXIF; transparency is dropped.

    Raises:
        DataError: The file is no image of 8 bits, or its compression may have changed colours.
    """
    pixels = decode_written(data, path)
    if pixels.ndim == 2 and (palette := _palette(data)) is not None:
        colours: np.ndarray = palette[pixels]
        return colours
    if pixels.dtype.kind == "b":
        pixels = pixels * np.uint8(255)
    if pixels.dtype != np.uint8:
        said = f"holds {pixels.dtype} where colours are expected"
        raise data_error(path, said, "save the mask with 8 bits a channel", NO_CLASS)
    if pixels.ndim == 2 or pixels.shape[2] == 2:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], -1)[..., :1], 3, axis=2)
    return np.ascontiguousarray(pixels[..., 2::-1])


def _palette(data: bytes) -> np.ndarray | None:
    """RGB of each index, (256, 3), uint8; None if the file has no palette."""
    with Image.open(io.BytesIO(data)) as image:
        colours = image.getpalette("RGB") if image.mode == "P" else None
    if colours is None:
        return None
    filled = np.zeros((256, 3), dtype=np.uint8)
    filled[: len(colours) // 3] = np.reshape(colours, (-1, 3))
    return filled


def _lossy_error(path: str, compression: str) -> DataError:
    said = f"is a {compression}, which changes labels"
    return data_error(path, said, "save the mask as PNG", NO_CLASS)
