"""Things that lie over skin and lesion in dermoscopy: hairs, gel, rulers, ink, stickers.

Each function takes a random generator and a Lab picture, float32 of shape (size, size, 3), and
returns a new one. Masks of the lesion are bool of shape (size, size).
"""

from __future__ import annotations

import numpy as np

from .primitives import (
    BoolArray,
    FloatArray,
    blend,
    coverage,
    draw_disc,
    draw_stroke,
    new_canvas,
    signed_depth,
    smooth_noise,
)


def add_hairs(rng: np.random.Generator, lab: FloatArray) -> FloatArray:
    """Lay curved hairs over skin and lesion alike, in about three pictures of five."""
    if rng.random() < 0.4:
        return lab
    size = lab.shape[0]
    colour = (85.0, 1.0, 8.0) if rng.random() < 0.2 else (rng.uniform(10.0, 32.0), 4.0, 6.0)
    main_angle = rng.uniform(0.0, np.pi)
    canvas = new_canvas(size)
    for _ in range(int(rng.integers(2, 24 if rng.random() < 0.3 else 9))):
        # Neighbouring hairs point in similar directions.
        angle = main_angle + rng.normal(0.0, 0.45)
        way = np.array([np.cos(angle), np.sin(angle)])
        middle = rng.uniform(0.0, 1.0, 2)
        half = rng.uniform(0.1, 0.55) * way
        bend = rng.normal(0.0, 0.14) * np.array([-way[1], way[0]])
        draw_stroke(
            canvas, (middle - half, middle + 2.0 * bend, middle + half), rng.uniform(0.004, 0.011)
        )
    return blend(lab, rng.uniform(0.6, 0.95) * coverage(canvas, size), colour)


def add_glints(rng: np.random.Generator, lab: FloatArray) -> FloatArray:
    """Lay gel bubbles (bright rings) and specular glints (white dots) over the picture."""
    size = lab.shape[0]
    rings, dots = new_canvas(size), new_canvas(size)
    for _ in range(int(rng.integers(1, 9))):
        centre = rng.uniform(0.0, 1.0, 2)
        radius = rng.uniform(0.012, 0.06)
        draw_disc(rings, centre, radius, thickness=0.008)
        draw_disc(dots, centre - 0.4 * radius, 0.22 * radius)
    for _ in range(int(rng.integers(0, 14))):
        draw_disc(dots, rng.uniform(0.0, 1.0, 2), rng.uniform(0.003, 0.009))
    lab = blend(lab, 0.45 * coverage(rings, size), (92.0, 1.0, 4.0))
    return blend(lab, 0.9 * coverage(dots, size), (98.0, 0.0, 0.0))


def add_ruler(rng: np.random.Generator, lab: FloatArray) -> FloatArray:
    """Draw the dark scale of a dermoscope along one side."""
    size = lab.shape[0]
    canvas = new_canvas(size)
    base, step = rng.uniform(0.04, 0.1), rng.uniform(0.035, 0.06)
    for tick in range(int(1.0 / step) + 1):
        length = 0.06 if tick % 5 == 0 else 0.03
        ends = np.array([[tick * step, base], [tick * step, base + length]])
        draw_stroke(canvas, (ends[0], ends.mean(axis=0), ends[1]), 0.007)
    turned = np.rot90(coverage(canvas, size), int(rng.integers(4)))
    return blend(lab, 0.8 * turned, (15.0, 0.0, 0.0))


def add_ink(rng: np.random.Generator, lab: FloatArray, mask: BoolArray) -> FloatArray:
    """Draw violet or blue pen strokes on the skin around the lesion, never over it."""
    size = lab.shape[0]
    canvas = new_canvas(size)
    for _ in range(int(rng.integers(1, 4))):
        start, end = rng.uniform(0.0, 1.0, 2), rng.uniform(0.0, 1.0, 2)
        draw_stroke(canvas, (start, rng.uniform(0.0, 1.0, 2), end), rng.uniform(0.02, 0.045))
    # Ink over the border would hide it; the label would then be a guess.
    clear = np.clip((-signed_depth(mask) - 0.02) / 0.03, 0.0, 1.0)
    worn = np.clip(0.75 + 0.2 * smooth_noise(rng, size, 16), 0.0, 1.0)
    colour = (rng.uniform(28.0, 45.0), rng.uniform(15.0, 40.0), rng.uniform(-55.0, -35.0))
    return blend(lab, coverage(canvas, size) * clear * worn, colour)


def add_sticker(rng: np.random.Generator, lab: FloatArray, mask: BoolArray) -> FloatArray:
    """Put a saturated round sticker at the picture's edge, unless it would cover the lesion."""
    size = lab.shape[0]
    canvas = new_canvas(size)
    angle, radius = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.1, 0.3)
    draw_disc(
        canvas, 0.5 + rng.uniform(0.5, 0.68) * np.array([np.cos(angle), np.sin(angle)]), radius
    )
    # Hues that no skin or lesion has: blue, green, yellow, orange.
    colours = ((45.0, 5.0, -45.0), (60.0, -45.0, 30.0), (85.0, 0.0, 75.0), (65.0, 45.0, 60.0))
    alpha = coverage(canvas, size)
    if np.any(mask & (alpha > 0.0)):
        return lab
    return blend(lab, 0.9 * alpha, colours[int(rng.integers(len(colours)))])
