"""Skin, and one lesion on it: outline, colour, structures.

Colours are CIE Lab: L in 0..100, a and b in about -100..100. In Lab a lesion can be redder than the
skin at equal lightness, and a grey threshold cannot see that. Lab pictures are float32 of shape
(size, size, 3), masks are bool of shape (size, size).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .primitives import (
    BoolArray,
    FloatArray,
    as_float32,
    coverage,
    draw_disc,
    new_canvas,
    pixel_grid,
    signed_depth,
    smooth_noise,
)

Range = tuple[float, float]

# Share of lesions and range of the Lab offset from skin, per kind. A threshold finds the dark ones,
# brown and black; it misses the red, pale and tan ones.
_LESION_KINDS: dict[str, tuple[float, Range, Range, Range]] = {
    "brown": (0.36, (-34.0, -15.0), (2.0, 9.0), (-3.0, 8.0)),
    "black": (0.14, (-52.0, -34.0), (-8.0, 0.0), (-16.0, -6.0)),
    "tan": (0.13, (-15.0, -8.0), (3.0, 8.0), (7.0, 14.0)),
    "red": (0.16, (-6.0, 2.0), (14.0, 23.0), (-2.0, 6.0)),
    "blue-grey": (0.12, (-24.0, -11.0), (-9.0, -3.0), (-21.0, -12.0)),
    "pale": (0.09, (12.0, 19.0), (-7.0, 2.0), (-10.0, -4.0)),
}


def render_skin(rng: np.random.Generator, size: int) -> FloatArray:
    """Draw bare skin, ``size`` pixels a side: tone, mottling, furrows and uneven light."""
    # Squared: dermoscopy archives hold far more light skin than dark.
    darkness = rng.random() ** 2
    tone = (
        80.0 - 34.0 * darkness + rng.normal(0.0, 2.0),
        11.0 + 5.0 * darkness + rng.normal(0.0, 3.0),
        13.0 + 10.0 * darkness + rng.normal(0.0, 3.5),
    )
    lab = np.empty((size, size, 3), np.float32)
    lab[:] = tone
    x, y = pixel_grid(size)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    lab[..., 0] += rng.uniform(0.0, 9.0) * (x * np.cos(angle) + y * np.sin(angle))
    lab[..., 0] += rng.uniform(0.5, 2.2) * smooth_noise(rng, size, 3, octaves=4)
    lab[..., 1] += rng.uniform(0.5, 1.8) * smooth_noise(rng, size, 4, octaves=3)
    lab[..., 2] += rng.uniform(0.3, 1.5) * smooth_noise(rng, size, 3, octaves=2)
    # Furrows follow the zero crossings of a fine field: thin lines that close into small plates.
    furrows = np.exp(-((smooth_noise(rng, size, int(rng.integers(14, 26))) / 0.3) ** 2))
    lab[..., 0] -= rng.uniform(0.0, 3.5) * furrows
    return lab


def lesion_shape(rng: np.random.Generator, visible: BoolArray) -> BoolArray:
    """Draw the outline of one lesion, sometimes with satellites or cut by the border.

    Args:
        rng: Source of randomness.
        visible: Mask of the pixels where a lesion may be: not under the dermoscope's black rim.

    Returns:
        Mask of about 3 % to 50 % of the picture.
    """
    size = visible.shape[0]
    # The root of the share is about the diameter; an even draw favours neither small nor large.
    share = rng.uniform(0.22, 0.69) ** 2
    spread = 0.3 if rng.random() < 0.75 else 0.85
    centre = rng.uniform(-spread, spread, 2)
    field = _blob_field(rng, size, centre)
    if rng.random() < 0.3:
        # A second lobe next to the first: the larger value wins, so that the two merge.
        angle, length = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.3, 0.55)
        lobe = centre + length * np.array([np.cos(angle), np.sin(angle)])
        field = np.maximum(field, _blob_field(rng, size, lobe) - 0.1)
    field = np.where(visible, field, -np.inf)
    mask = _main_part(field > np.quantile(field, 1.0 - share))
    if rng.random() < 0.15:
        mask |= _satellites(rng, mask) & visible
    return mask


def paint_lesion(rng: np.random.Generator, lab: FloatArray, mask: BoolArray) -> FloatArray:
    """Paint a lesion into a copy of the skin: colour zones, structures and a soft border."""
    size = mask.shape[0]
    depth = signed_depth(mask)
    softness = rng.uniform(0.003, 0.014)
    # The logistic curve is one half on the border of the label, at any softness.
    alpha = 1.0 / (1.0 + np.exp(-np.clip(depth / softness, -30.0, 30.0)))
    names = list(_LESION_KINDS)
    kind = str(rng.choice(names, p=[_LESION_KINDS[name][0] for name in names]))
    if kind == "pale" and lab[..., 0].mean() > 68.0:
        # On light skin nothing lighter could be seen.
        kind = "red"
    offset = np.array([rng.uniform(*span) for span in _LESION_KINDS[kind][1:]], np.float32)
    zones = 1.0 + rng.uniform(0.08, 0.3) * smooth_noise(rng, size, 4, octaves=3)
    change = offset * np.clip(zones, 0.65, 1.6)[..., None]
    change[..., 1] += rng.uniform(0.0, 3.0) * smooth_noise(rng, size, 4, octaves=2)
    change[..., 2] += rng.uniform(0.0, 3.0) * smooth_noise(rng, size, 5, octaves=2)
    # A step darker than the lesion's own contrast would drown the border of a faint lesion.
    strength = min(float(np.abs(offset).max()), 15.0)
    change[..., 0] -= strength * _structures(rng, mask)
    inner = np.clip(depth / 0.05, 0.0, 1.0)
    if rng.random() < 0.22:
        _regression(rng, change, inner)
    if rng.random() < 0.2:
        _veil(rng, change, inner)
    painted = lab + alpha[..., None] * change
    painted[..., 0] = np.clip(painted[..., 0], 6.0, 97.0)
    return as_float32(painted)


def _blob_field(rng: np.random.Generator, size: int, centre: NDArray[np.floating]) -> FloatArray:
    """Field that falls from a centre (x, y in -1..1) with wavy, stretched level lines."""
    x, y = pixel_grid(size)
    angle, stretch = rng.uniform(0.0, np.pi), np.exp(abs(rng.normal(0.0, 0.28)))
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    distance = np.hypot(u / stretch, v * stretch)
    wave = rng.uniform(0.04, 0.16) * smooth_noise(rng, size, 5)
    wave += rng.uniform(0.005, 0.03) * smooth_noise(rng, size, 14)
    return as_float32(wave - distance)


def _main_part(mask: BoolArray) -> BoolArray:
    """Largest connected part of a mask, smoothed by a pixel or two and without holes."""
    size = mask.shape[0]
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.008 * size, 0.6))
    _, labels, stats, _ = cv2.connectedComponentsWithStats((blurred > 0.5).astype(np.uint8))
    part = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    outlines, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros((size, size), np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return filled.astype(bool)


def _satellites(rng: np.random.Generator, mask: BoolArray) -> BoolArray:
    """One to three small round spots just outside a lesion."""
    size = mask.shape[0]
    near = np.argwhere(np.abs(signed_depth(mask) + 0.07) < 0.02)
    canvas = new_canvas(size)
    for index in rng.integers(len(near), size=int(rng.integers(1, 4))):
        row, column = near[index] / size
        draw_disc(canvas, np.array([column, row]), rng.uniform(0.02, 0.04))
    return coverage(canvas, size) > 0.5


def _structures(rng: np.random.Generator, mask: BoolArray) -> FloatArray:
    """Darkening, about 0..1, by a pigment network or dots or neither."""
    size = mask.shape[0]
    choice = rng.random()
    if choice < 0.4:
        return _network(rng, size)
    canvas = new_canvas(size)
    if choice < 0.7:
        spots = np.argwhere(mask)
        for index in rng.integers(len(spots), size=int(rng.integers(8, 50))):
            row, column = spots[index] / size
            draw_disc(canvas, np.array([column, row]), rng.uniform(0.006, 0.018))
    return as_float32(coverage(canvas, size) * rng.uniform(0.4, 1.0))


def _network(rng: np.random.Generator, size: int) -> FloatArray:
    """Honeycomb of dark lines that fades in and out: three waves at 60 degrees, bent by noise."""
    x, y = pixel_grid(size)
    x = x + 0.035 * smooth_noise(rng, size, 6, octaves=2)
    y = y + 0.035 * smooth_noise(rng, size, 6, octaves=2)
    turn, frequency = rng.uniform(0.0, np.pi), 2.0 * np.pi / rng.uniform(0.07, 0.12)
    waves = np.zeros((size, size))
    for step in (turn, turn + np.pi / 3.0, turn + 2.0 * np.pi / 3.0):
        waves += np.cos(frequency * (x * np.cos(step) + y * np.sin(step)))
    lines = np.clip((0.2 - waves) / 1.7, 0.0, 1.0)
    fade = np.clip(0.6 + 0.5 * smooth_noise(rng, size, 3), 0.0, 1.0)
    return as_float32(lines * fade * rng.uniform(0.3, 0.9))


def _regression(rng: np.random.Generator, change: FloatArray, inner: FloatArray) -> None:
    """Turn some spots inside a lesion lighter than the skin around it, in place."""
    spots = 1.0 / (1.0 + np.exp(-4.0 * (smooth_noise(rng, change.shape[0], 6, 3) - 1.1)))
    weight = as_float32(spots * inner)[..., None]
    scar = np.array([rng.uniform(3.0, 8.0), -4.0, -5.0], np.float32)
    change += weight * (scar - change)


def _veil(rng: np.random.Generator, change: FloatArray, inner: FloatArray) -> None:
    """Lay a blue-white veil over a part of a lesion, in place."""
    cover = 1.0 / (1.0 + np.exp(-4.0 * (smooth_noise(rng, change.shape[0], 3, 2) - 0.6)))
    weight = as_float32(rng.uniform(0.4, 0.9) * cover * inner)[..., None]
    veil = np.array([-14.0, -9.0, -21.0], np.float32)
    change += weight * (veil - change)
