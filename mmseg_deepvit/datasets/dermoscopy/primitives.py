"""Tools of every drawing step: noise fields, coordinates, smooth strokes and discs, blending.

All lengths are fractions of the picture's side: the look does not depend on the size.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
UInt8Array = NDArray[np.uint8]


def as_float32(values: NDArray[Any]) -> FloatArray:
    """Convert to single precision; float32 arrays are returned without a copy."""
    return np.asarray(values, dtype=np.float32)


def smooth_noise(rng: np.random.Generator, size: int, cells: int, octaves: int = 1) -> FloatArray:
    """Draw a smooth random field.

    Args:
        rng: Source of randomness.
        size: Side in pixels.
        cells: Number of random values along a side in the coarsest octave, at most ``size``.
        octaves: Number of layers, each twice as fine and half as strong as the one before.

    Returns:
        Field of shape (size, size) with mean 0 and standard deviation 1.
    """
    field = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        bumps = min(cells * 2**octave, size)
        # A coarse grid would line up its bumps with the axes; a blurred fine grid does not.
        count = min(4 * bumps, size)
        grid = rng.standard_normal((count, count)).astype(np.float32)
        blurred = cv2.GaussianBlur(grid, (0, 0), 0.4 * count / bumps)
        layer = cv2.resize(blurred, (size, size), interpolation=cv2.INTER_CUBIC)
        field += layer * np.float32(0.5**octave / (layer.std() + 1e-6))
    return as_float32((field - field.mean()) / (field.std() + 1e-6))


def pixel_grid(size: int) -> tuple[FloatArray, FloatArray]:
    """Coordinates x and y of the pixel centres, -1..1, each of shape (size, size)."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) / size) * 2.0 - 1.0
    x, y = np.meshgrid(line, line)
    return as_float32(x), as_float32(y)


def signed_depth(mask: BoolArray) -> FloatArray:
    """Distance to the mask's border in picture sides: positive inside, negative outside."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    # OpenCV counts from pixel centres; the border is half a pixel nearer.
    signed = np.where(mask, inside - 0.5, 0.5 - outside)
    return as_float32(signed / mask.shape[0])


def new_canvas(size: int) -> UInt8Array:
    """Empty drawing surface at four times the size: OpenCV draws full pixels only."""
    return np.zeros((4 * size, 4 * size), np.uint8)


def coverage(canvas: UInt8Array, size: int) -> FloatArray:
    """Covered share of each pixel, 0..1, by the drawing on a canvas; shape (size, size)."""
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return as_float32(small.astype(np.float32) / 255.0)


def draw_stroke(
    canvas: UInt8Array,
    points: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]],
    width: float,
) -> None:
    """Draw a quadratic Bezier curve; points (x, y) and width in picture sides."""
    t = np.linspace(0.0, 1.0, 24)[:, None]
    curve = (1.0 - t) ** 2 * points[0] + 2.0 * t * (1.0 - t) * points[1] + t**2 * points[2]
    scale = canvas.shape[0]
    pixels = np.rint(curve * scale).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [pixels], False, 255, max(round(width * scale), 1))


def draw_disc(
    canvas: UInt8Array, centre: NDArray[np.floating], radius: float, thickness: float | None = None
) -> None:
    """Draw a disc, or a ring of a thickness; centre (x, y) and lengths in picture sides."""
    scale = canvas.shape[0]
    line = cv2.FILLED if thickness is None else max(round(thickness * scale), 1)
    middle = (round(float(centre[0]) * scale), round(float(centre[1]) * scale))
    cv2.circle(canvas, middle, max(round(radius * scale), 1), 255, line)


def blend(
    lab: FloatArray, alpha: NDArray[np.floating], colour: tuple[float, float, float]
) -> FloatArray:
    """Lay a colour over a picture with an opacity of shape (size, size)."""
    weight = as_float32(alpha)[..., None]
    return as_float32(lab * (1.0 - weight) + weight * np.array(colour, np.float32))
