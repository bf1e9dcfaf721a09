"""Synthetic pictures that look like dermoscopy of one skin lesion, with their exact masks.

The demo data set (:mod:`mmseg_deepvit.datasets.demo`) needs pictures that anyone can make offline
in seconds and share freely, with labels that are right to the pixel. Flat coloured blobs would not
do: a grey threshold finds them, so they would tell nothing about a model. Every picture is drawn
from a random generator, step by step: skin, lesion, hairs, artefacts. Colours are CIE Lab until the
camera step.
"""

from __future__ import annotations

import cv2
import numpy as np

from .artefacts import add_glints, add_hairs, add_ink, add_ruler, add_sticker
from .lesion import lesion_shape, paint_lesion, render_skin
from .primitives import BoolArray, FloatArray, UInt8Array, as_float32, pixel_grid

#: Smallest side in pixels at which hairs and texture can still be drawn.
MIN_SIZE = 32


def render_lesion_image(rng: np.random.Generator, size: int) -> tuple[UInt8Array, BoolArray]:
    """Draw one dermoscopy-like picture and the mask of its lesion.

    Args:
        rng: Source of randomness; the same state gives the same picture.
        size: Side in pixels, at least 32.

    Returns:
        The BGR picture, uint8 of shape (size, size, 3), 0..255, and the lesion mask, bool of
        shape (size, size), true on the lesion.

    Raises:
        ValueError: If ``size`` is below 32.
    """
    if size < MIN_SIZE:
        raise ValueError(f"size: expected at least {MIN_SIZE} pixels, got {size}")
    light = field_of_view(rng, size)
    mask = lesion_shape(rng, light > 0.35)
    lab = paint_lesion(rng, render_skin(rng, size), mask)
    if rng.random() < 0.12:
        lab = add_ink(rng, lab, mask)
    if rng.random() < 0.15:
        lab = add_sticker(rng, lab, mask)
    # Hairs lie on the ink and under the gel and the glass.
    lab = add_hairs(rng, lab)
    if rng.random() < 0.28:
        lab = add_glints(rng, lab)
    if rng.random() < 0.13:
        lab = add_ruler(rng, lab)
    return expose(rng, lab, light), mask


def field_of_view(rng: np.random.Generator, size: int) -> FloatArray:
    """Draw the light that reaches the camera: even, vignetted, or with black corners.

    Returns:
        Factor for the brightness, 0..1, of shape (size, size).
    """
    x, y = pixel_grid(size)
    centre = rng.normal(0.0, 0.06, 2)
    radius = np.hypot(x - centre[0], y - centre[1])
    light = 1.0 - rng.uniform(0.0, 0.28) * np.clip(radius / 1.41, 0.0, 1.2) ** 2
    style = rng.random()
    if style < 0.17:
        # The round tube of the dermoscope: beyond it the picture is black.
        edge = (rng.uniform(0.95, 1.25) - radius) / rng.uniform(0.01, 0.05)
        light *= 0.04 + 0.96 / (1.0 + np.exp(-np.clip(edge, -30.0, 30.0)))
    elif style < 0.42:
        light *= 1.0 - rng.uniform(0.3, 0.6) * np.clip((radius - 0.65) / 0.75, 0.0, 1.0) ** 1.5
    return as_float32(light)


def expose(rng: np.random.Generator, lab: FloatArray, light: FloatArray) -> UInt8Array:
    """Turn a Lab picture into a camera's BGR: light, white balance, focus and sensor noise."""
    gain = light[..., None] * rng.uniform(0.94, 1.06, 3) * rng.uniform(0.88, 1.05)
    bgr = as_float32(cv2.cvtColor(lab, cv2.COLOR_Lab2BGR) * gain)
    blur = rng.uniform(0.0, 0.006) * bgr.shape[0]
    if blur > 0.2:
        bgr = as_float32(cv2.GaussianBlur(bgr, (0, 0), blur))
    bgr = as_float32(bgr + rng.normal(0.0, rng.uniform(0.004, 0.018), bgr.shape))
    picture: UInt8Array = np.rint(np.clip(bgr, 0.0, 1.0) * 255.0).astype(np.uint8)
    return picture
