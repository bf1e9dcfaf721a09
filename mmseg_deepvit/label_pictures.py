"""Draw predictions over images with a legend, and write pictures and label maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from .files import replacing

#: End of errors about a palette.
NO_PALETTE = "is none: give each class three numbers from 0 to 255"

_ROW, _SWATCH, _MARGIN = 22, 14, 8  # pixels of the legend
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_MIN_OVERLAY_SIDE = 256  # smaller images are enlarged: else the legend could not be read
_MAX_ENLARGED_SIDE = 16384  # pixels; images with a longer side are not enlarged


def draw_overlay(
    image: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    opacity: float = 0.5,
    legend: bool = True,
) -> np.ndarray:
    """Paint classes over an image, with a legend on the right.

    The legend names the classes that occur, the largest first, with their share of the pixels. A
    class whose colour is black is left unpainted, as a background is.

    Args:
        image: Image (H, W, 3), uint8, BGR.
        labels: Class indices (H, W); pixels outside ``classes`` are left unpainted.
        classes: Name of each class.
        palette: RGB of each class, 0 to 255.
        opacity: Opacity of the paint, in [0, 1].
        legend: Whether to draw the legend, and to enlarge small images for it.

    Returns:
        Picture (H', W', 3), uint8, BGR; H' ≥ H where the image is small or the legend long. Without
        legend it has the image's size.

    Raises:
        ValueError: Image and labels differ in size.
    """
    painted = paint_labels(image, labels, palette, opacity)
    if not legend:
        return painted
    wanted = -(-_MIN_OVERLAY_SIDE // min(image.shape[:2]))
    factor = max(1, min(wanted, _MAX_ENLARGED_SIDE // max(image.shape[:2])))
    if factor > 1:
        painted = cv2.resize(painted, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    return _beside(painted, _legend(labels, classes, np.asarray(palette)[:, ::-1]))


def paint_labels(
    image: np.ndarray,
    labels: np.ndarray,
    palette: Sequence[Sequence[int]],
    opacity: float = 0.5,
) -> np.ndarray:
    """Paint classes over an image, with a white line between them.

    Args:
        image: Image (H, W, 3), uint8, BGR.
        labels: Class indices (H, W); pixels outside ``palette`` are left unpainted.
        palette: RGB of each class, 0 to 255; a class in black is left unpainted.
        opacity: Opacity of the paint, in [0, 1].

    Returns:
        Picture (H, W, 3), uint8, BGR.

    Raises:
        ValueError: Image and labels differ in size.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image is {image.shape[:2]} and labels are {labels.shape}")
    colours = np.asarray(palette, dtype=np.float32)[:, ::-1]
    painted: np.ndarray = image.astype(np.float32)
    paint = labels < len(colours)
    paint[paint] = colours[labels[paint]].any(axis=-1)
    painted[paint] += opacity * (colours[labels[paint]] - painted[paint])
    return _outline(painted.round().astype(np.uint8), labels)


def class_shares(labels: np.ndarray, num_classes: int) -> list[tuple[int, float]]:
    """Classes that occur, the largest first, with their shares of the pixels.

    Args:
        labels: Class indices (H, W), at least 0; those from ``num_classes`` on are left out.
        num_classes: Number of classes.

    Returns:
        Index and share, in (0, 1], of each class.
    """
    counts = np.bincount(labels.ravel(), minlength=num_classes)[:num_classes]
    order = np.argsort(-counts, kind="stable")
    return [(int(i), float(counts[i] / labels.size)) for i in order if counts[i]]


def as_picture(image: np.ndarray) -> np.ndarray:
    """A loaded image for the eye.

    Args:
        image: (H, W) or (H, W, C) from 0 to 255; three bands as B, G, R.

    Returns:
        (H, W, 3), uint8, BGR: one or two bands as the first one's grey, of more than three the
        first three as R, G, B.
    """
    image = image[..., None] if image.ndim == 2 else image
    if image.shape[2] < 3:
        image = np.repeat(image[..., :1], 3, axis=2)
    elif image.shape[2] > 3:
        image = image[..., 2::-1]
    picture: np.ndarray = np.ascontiguousarray(image.clip(0, 255)).astype(np.uint8)
    return picture


def is_palette(value: Any) -> bool:
    """Whether something is a palette: a list of colours, each three numbers from 0 to 255."""
    try:
        colours = np.asarray(value)
    except ValueError:  # lists of different lengths
        return False
    if colours.dtype.kind not in "iuf" or colours.ndim != 2 or colours.shape[1] != 3:
        return False
    return bool(((colours >= 0) & (colours <= 255)).all())


def draw_outline(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw a mask's border in red, and the image outside the mask pale.

    Args:
        image: Image (H, W, 3), uint8, BGR.
        mask: Mask (H, W), bool.

    Returns:
        Picture (H, W, 3), uint8, BGR.
    """
    out = np.where(mask[..., None], image, image // 2 + 128).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(out, contours, -1, (64, 64, 255), max(1, max(mask.shape) // 128))


def _outline(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draw a white line where the class changes, so that faint paint has a border."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    image[edge] = 255
    return image


def _legend(labels: np.ndarray, classes: Sequence[str], colours: np.ndarray) -> np.ndarray:
    shares = class_shares(labels, len(classes))
    rows = [f"{classes[i]}  {100 * share:.1f} %" for i, share in shares]
    text_width = max((cv2.getTextSize(r, _FONT, _FONT_SCALE, 1)[0][0] for r in rows), default=0)
    width = text_width + _SWATCH + 3 * _MARGIN
    legend = np.full((max(1, len(rows)) * _ROW + 2 * _MARGIN, width, 3), 255, dtype=np.uint8)
    for row, ((i, _), text) in enumerate(zip(shares, rows, strict=True)):
        top = _MARGIN + row * _ROW + (_ROW - _SWATCH) // 2
        legend[top : top + _SWATCH, _MARGIN : _MARGIN + _SWATCH] = colours[i]
        cv2.rectangle(legend, (_MARGIN, top), (_MARGIN + _SWATCH, top + _SWATCH), (0, 0, 0), 1)
        origin = (2 * _MARGIN + _SWATCH, top + _SWATCH - 3)
        cv2.putText(legend, text, origin, _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    return legend


def _beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    height = max(len(left), len(right))
    pads = [((0, height - len(part)), (0, 0), (0, 0)) for part in (left, right)]
    parts = (
        np.pad(p, pad, constant_values=255) for p, pad in zip((left, right), pads, strict=True)
    )
    return np.concatenate(list(parts), axis=1)


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write a PNG; it replaces the file when it is complete.

    Args:
        path: Path of the file; its folder exists.
        image: Pixels (H, W) or (H, W, 3), uint8 or uint16.

    Raises:
        OSError: The picture cannot be encoded or written.
    """
    _write(path, image, ".png")


def write_jpeg(path: str | os.PathLike[str], image: np.ndarray, quality: int) -> None:
    """Write a JPEG of a quality from 0 to 100; see :func:`write_png`."""
    _write(path, image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def _write(path: str | os.PathLike[str], image: np.ndarray, kind: str, *settings: int) -> None:
    ok, data = cv2.imencode(kind, image, settings)
    if not ok:
        raise OSError(f"cannot encode {path} as {kind}: {image.dtype} {image.shape}")
    with replacing(path) as part:
        part.write_bytes(data.tobytes())
