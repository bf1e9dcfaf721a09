"""Synthetic pictures that look like dermoscopy of one skin lesion, with their exact masks.

The demo data set (:mod:`mmseg_deepvit.datasets.demo`) needs pictures that anyone can make offline
in seconds, that may be shared freely, and whose labels are right to the pixel. A real set offers
none of these, and flat coloured blobs would be solved by a grey threshold, so that they would say
nothing about a segmentation model. Here every picture is drawn from a random generator: skin,
lesion, hairs and the usual artefacts are separate small steps that are laid over each other.

Colours are CIE Lab until the camera step (L in 0..100, a and b in about -100..100), because there
a lesion can be made redder than the skin at equal lightness, which a grey threshold cannot see.
All lengths are fractions of the picture's side, so that the look does not depend on the size.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
UInt8Array = NDArray[np.uint8]
Range = tuple[float, float]

MIN_SIZE = 32
"""Smallest side in pixels at which hairs and texture can still be drawn."""

# Share of lesions and range of the Lab offset from skin, per kind. Brown and black ones, dark on
# skin, are what a threshold finds; red, pale and tan ones are what it misses.
_LESION_KINDS: dict[str, tuple[float, Range, Range, Range]] = {
    "brown": (0.36, (-34.0, -15.0), (2.0, 9.0), (-3.0, 8.0)),
    "black": (0.14, (-52.0, -34.0), (-8.0, 0.0), (-16.0, -6.0)),
    "tan": (0.13, (-15.0, -8.0), (3.0, 8.0), (7.0, 14.0)),
    "red": (0.16, (-6.0, 2.0), (14.0, 23.0), (-2.0, 6.0)),
    "blue-grey": (0.12, (-24.0, -11.0), (-9.0, -3.0), (-21.0, -12.0)),
    "pale": (0.09, (12.0, 19.0), (-7.0, 2.0), (-10.0, -4.0)),
}


def smooth_noise(rng: np.random.Generator, size: int, cells: int, octaves: int = 1) -> FloatArray:
    """Draw a smooth random field.

    Args:
        rng: Source of randomness.
        size: Side in pixels.
        cells: Number of random values along a side in the coarsest octave; at most ``size`` are
            used.
        octaves: Number of layers, each twice as fine and half as strong as the one before.

    Returns:
        Field of shape (size, size) with mean 0 and standard deviation 1.
    """
    field = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        bumps = min(cells * 2**octave, size)
        # A blurred finer grid, because the bumps of a coarse one line up with the axes.
        count = min(4 * bumps, size)
        grid = rng.standard_normal((count, count)).astype(np.float32)
        blurred = cv2.GaussianBlur(grid, (0, 0), 0.4 * count / bumps)
        layer = cv2.resize(blurred, (size, size), interpolation=cv2.INTER_CUBIC)
        field += layer * np.float32(0.5**octave / (layer.std() + 1e-6))
    return _float32((field - field.mean()) / (field.std() + 1e-6))


def render_skin(rng: np.random.Generator, size: int) -> FloatArray:
    """Draw bare skin: tone, mottling, furrows and uneven light.

    Args:
        rng: Source of randomness.
        size: Side in pixels.

    Returns:
        Lab picture of shape (size, size, 3).
    """
    # Squared, because dermoscopy archives hold far more light skin than dark.
    darkness = rng.random() ** 2
    tone = (
        80.0 - 34.0 * darkness + rng.normal(0.0, 2.0),
        11.0 + 5.0 * darkness + rng.normal(0.0, 3.0),
        13.0 + 10.0 * darkness + rng.normal(0.0, 3.5),
    )
    lab = np.empty((size, size, 3), np.float32)
    lab[:] = tone
    x, y = _grid(size)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    lab[..., 0] += rng.uniform(0.0, 9.0) * (x * np.cos(angle) + y * np.sin(angle))
    lab[..., 0] += rng.uniform(0.5, 2.2) * smooth_noise(rng, size, 3, octaves=4)
    lab[..., 1] += rng.uniform(0.5, 1.8) * smooth_noise(rng, size, 4, octaves=3)
    lab[..., 2] += rng.uniform(0.3, 1.5) * smooth_noise(rng, size, 3, octaves=2)
    # Furrows are where a fine field crosses zero: thin lines that close into small plates.
    furrows = np.exp(-((smooth_noise(rng, size, int(rng.integers(14, 26))) / 0.3) ** 2))
    lab[..., 0] -= rng.uniform(0.0, 3.5) * furrows
    return lab


def lesion_shape(rng: np.random.Generator, visible: BoolArray) -> BoolArray:
    """Draw the outline of one lesion, sometimes with satellites or cut by the border.

    Args:
        rng: Source of randomness.
        visible: Pixels where a lesion may be, shape (size, size); a label under the black rim of
            the dermoscope could not be seen by anybody.

    Returns:
        Mask of shape (size, size), about 3 % to 50 % of the picture.
    """
    size = visible.shape[0]
    # The square root of the share is about the diameter: drawing it evenly favours neither
    # specks nor lesions that fill the picture.
    share = rng.uniform(0.22, 0.69) ** 2
    spread = 0.3 if rng.random() < 0.75 else 0.85
    centre = rng.uniform(-spread, spread, 2)
    field = _blob_field(rng, size, centre)
    if rng.random() < 0.3:
        # A second lobe beside the first: the larger value wins, so that the two merge.
        angle, length = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.3, 0.55)
        lobe = centre + length * np.array([np.cos(angle), np.sin(angle)])
        field = np.maximum(field, _blob_field(rng, size, lobe) - 0.1)
    field = np.where(visible, field, -np.inf)
    mask = _main_part(field > np.quantile(field, 1.0 - share))
    if rng.random() < 0.15:
        mask |= _satellites(rng, mask) & visible
    return mask


def paint_lesion(rng: np.random.Generator, lab: FloatArray, mask: BoolArray) -> FloatArray:
    """Paint a lesion into skin, with colour zones, structures and a soft border.

    Args:
        rng: Source of randomness.
        lab: Lab picture of the skin, shape (size, size, 3); left as it is.
        mask: Lesion mask of shape (size, size).

    Returns:
        Lab picture of shape (size, size, 3).
    """
    size = mask.shape[0]
    depth = _signed_depth(mask)
    softness = rng.uniform(0.003, 0.014)
    # The logistic curve is one half on the label's border, however soft the border is.
    alpha = 1.0 / (1.0 + np.exp(-np.clip(depth / softness, -30.0, 30.0)))
    names = list(_LESION_KINDS)
    kind = str(rng.choice(names, p=[_LESION_KINDS[name][0] for name in names]))
    if kind == "pale" and lab[..., 0].mean() > 68.0:
        # There is nothing lighter than light skin that could be told from it.
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
    return _float32(painted)


def add_hairs(rng: np.random.Generator, lab: FloatArray) -> FloatArray:
    """Lay curved hairs over skin and lesion alike, in about three pictures of five.

    Args:
        rng: Source of randomness.
        lab: Lab picture of shape (size, size, 3); left as it is.

    Returns:
        Lab picture of shape (size, size, 3).
    """
    if rng.random() < 0.4:
        return lab
    size = lab.shape[0]
    colour = (85.0, 1.0, 8.0) if rng.random() < 0.2 else (rng.uniform(10.0, 32.0), 4.0, 6.0)
    main_angle = rng.uniform(0.0, np.pi)
    canvas = _canvas(size)
    for _ in range(int(rng.integers(2, 24 if rng.random() < 0.3 else 9))):
        # Hairs of one patch of skin lie about the same way.
        angle = main_angle + rng.normal(0.0, 0.45)
        way = np.array([np.cos(angle), np.sin(angle)])
        middle = rng.uniform(0.0, 1.0, 2)
        half = rng.uniform(0.1, 0.55) * way
        bend = rng.normal(0.0, 0.14) * np.array([-way[1], way[0]])
        _stroke(
            canvas, (middle - half, middle + 2.0 * bend, middle + half), rng.uniform(0.004, 0.011)
        )
    return _blend(lab, rng.uniform(0.6, 0.95) * _shrink(canvas, size), colour)


def add_glints(rng: np.random.Generator, lab: FloatArray) -> FloatArray:
    """Lay gel bubbles (bright rings) and specular glints (white dots) over the picture.

    Args:
        rng: Source of randomness.
        lab: Lab picture of shape (size, size, 3); left as it is.

    Returns:
        Lab picture of shape (size, size, 3).
    """
    size = lab.shape[0]
    rings, dots = _canvas(size), _canvas(size)
    for _ in range(int(rng.integers(1, 9))):
        centre = rng.uniform(0.0, 1.0, 2)
        radius = rng.uniform(0.012, 0.06)
        _disc(rings, centre, radius, thickness=0.008)
        _disc(dots, centre - 0.4 * radius, 0.22 * radius)
    for _ in range(int(rng.integers(0, 14))):
        _disc(dots, rng.uniform(0.0, 1.0, 2), rng.uniform(0.003, 0.009))
    lab = _blend(lab, 0.45 * _shrink(rings, size), (92.0, 1.0, 4.0))
    return _blend(lab, 0.9 * _shrink(dots, size), (98.0, 0.0, 0.0))


def add_ruler(rng: np.random.Generator, lab: FloatArray) -> FloatArray:
    """Draw the dark scale of a dermoscope along one side.

    Args:
        rng: Source of randomness.
        lab: Lab picture of shape (size, size, 3); left as it is.

    Returns:
        Lab picture of shape (size, size, 3).
    """
    size = lab.shape[0]
    canvas = _canvas(size)
    base, step = rng.uniform(0.04, 0.1), rng.uniform(0.035, 0.06)
    for tick in range(int(1.0 / step) + 1):
        length = 0.06 if tick % 5 == 0 else 0.03
        ends = np.array([[tick * step, base], [tick * step, base + length]])
        _stroke(canvas, (ends[0], ends.mean(axis=0), ends[1]), 0.007)
    turned = np.rot90(_shrink(canvas, size), int(rng.integers(4)))
    return _blend(lab, 0.8 * turned, (15.0, 0.0, 0.0))


def add_ink(rng: np.random.Generator, lab: FloatArray, mask: BoolArray) -> FloatArray:
    """Draw violet or blue pen strokes on the skin beside the lesion.

    Args:
        rng: Source of randomness.
        lab: Lab picture of shape (size, size, 3); left as it is.
        mask: Lesion mask of shape (size, size); the pen keeps clear of it.

    Returns:
        Lab picture of shape (size, size, 3).
    """
    size = lab.shape[0]
    canvas = _canvas(size)
    for _ in range(int(rng.integers(1, 4))):
        start, end = rng.uniform(0.0, 1.0, 2), rng.uniform(0.0, 1.0, 2)
        _stroke(canvas, (start, rng.uniform(0.0, 1.0, 2), end), rng.uniform(0.02, 0.045))
    # Ink over the border would hide it, and make the label a guess.
    clear = np.clip((-_signed_depth(mask) - 0.02) / 0.03, 0.0, 1.0)
    worn = np.clip(0.75 + 0.2 * smooth_noise(rng, size, 16), 0.0, 1.0)
    colour = (rng.uniform(28.0, 45.0), rng.uniform(15.0, 40.0), rng.uniform(-55.0, -35.0))
    return _blend(lab, _shrink(canvas, size) * clear * worn, colour)


def add_sticker(rng: np.random.Generator, lab: FloatArray, mask: BoolArray) -> FloatArray:
    """Put a saturated round sticker at the picture's edge, if there is room for one.

    Args:
        rng: Source of randomness.
        lab: Lab picture of shape (size, size, 3); left as it is.
        mask: Lesion mask of shape (size, size); a sticker that would cover some of it is left out.

    Returns:
        Lab picture of shape (size, size, 3).
    """
    size = lab.shape[0]
    canvas = _canvas(size)
    angle, radius = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.1, 0.3)
    _disc(canvas, 0.5 + rng.uniform(0.5, 0.68) * np.array([np.cos(angle), np.sin(angle)]), radius)
    # Hues that no skin or lesion has: blue, green, yellow, orange.
    colours = ((45.0, 5.0, -45.0), (60.0, -45.0, 30.0), (85.0, 0.0, 75.0), (65.0, 45.0, 60.0))
    alpha = _shrink(canvas, size)
    if np.any(mask & (alpha > 0.0)):
        return lab
    return _blend(lab, 0.9 * alpha, colours[int(rng.integers(len(colours)))])


def field_of_view(rng: np.random.Generator, size: int) -> FloatArray:
    """Draw the light that reaches the camera: even, vignetted, or with black corners.

    Args:
        rng: Source of randomness.
        size: Side in pixels.

    Returns:
        Factor for the brightness, 0..1, of shape (size, size).
    """
    x, y = _grid(size)
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
    return _float32(light)


def expose(rng: np.random.Generator, lab: FloatArray, light: FloatArray) -> UInt8Array:
    """Turn the scene into a camera picture: light, white balance, focus and sensor noise.

    Args:
        rng: Source of randomness.
        lab: Lab picture of shape (size, size, 3).
        light: Factor for the brightness, 0..1, of shape (size, size).

    Returns:
        BGR picture of shape (size, size, 3), 0..255.
    """
    gain = light[..., None] * rng.uniform(0.94, 1.06, 3) * rng.uniform(0.88, 1.05)
    bgr = _float32(cv2.cvtColor(lab, cv2.COLOR_Lab2BGR) * gain)
    blur = rng.uniform(0.0, 0.006) * bgr.shape[0]
    if blur > 0.2:
        bgr = _float32(cv2.GaussianBlur(bgr, (0, 0), blur))
    bgr = _float32(bgr + rng.normal(0.0, rng.uniform(0.004, 0.018), bgr.shape))
    picture: UInt8Array = np.rint(np.clip(bgr, 0.0, 1.0) * 255.0).astype(np.uint8)
    return picture


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


def _float32(values: NDArray[Any]) -> FloatArray:
    return np.asarray(values, dtype=np.float32)


def _grid(size: int) -> tuple[FloatArray, FloatArray]:
    """Coordinates x and y of the pixel centres, -1..1, each of shape (size, size)."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) / size) * 2.0 - 1.0
    x, y = np.meshgrid(line, line)
    return _float32(x), _float32(y)


def _blob_field(rng: np.random.Generator, size: int, centre: NDArray[np.floating]) -> FloatArray:
    """Field that falls from a centre (x, y in -1..1) with wavy, stretched level lines."""
    x, y = _grid(size)
    angle, stretch = rng.uniform(0.0, np.pi), np.exp(abs(rng.normal(0.0, 0.28)))
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    distance = np.hypot(u / stretch, v * stretch)
    wave = rng.uniform(0.04, 0.16) * smooth_noise(rng, size, 5)
    wave += rng.uniform(0.005, 0.03) * smooth_noise(rng, size, 14)
    return _float32(wave - distance)


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
    near = np.argwhere(np.abs(_signed_depth(mask) + 0.07) < 0.02)
    canvas = _canvas(size)
    for index in rng.integers(len(near), size=int(rng.integers(1, 4))):
        row, column = near[index] / size
        _disc(canvas, np.array([column, row]), rng.uniform(0.02, 0.04))
    return _shrink(canvas, size) > 0.5


def _signed_depth(mask: BoolArray) -> FloatArray:
    """Distance to the mask's border in picture sides: positive inside, negative outside."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    # The distance counts from pixel centres; the border runs half a pixel before them.
    signed = np.where(mask, inside - 0.5, 0.5 - outside)
    return _float32(signed / mask.shape[0])


def _structures(rng: np.random.Generator, mask: BoolArray) -> FloatArray:
    """Darkening, about 0..1, by a pigment network or dots or neither."""
    size = mask.shape[0]
    choice = rng.random()
    if choice < 0.4:
        return _network(rng, size)
    canvas = _canvas(size)
    if choice < 0.7:
        spots = np.argwhere(mask)
        for index in rng.integers(len(spots), size=int(rng.integers(8, 50))):
            row, column = spots[index] / size
            _disc(canvas, np.array([column, row]), rng.uniform(0.006, 0.018))
    return _float32(_shrink(canvas, size) * rng.uniform(0.4, 1.0))


def _network(rng: np.random.Generator, size: int) -> FloatArray:
    """Honeycomb of dark lines that fades in and out: three waves at 60 degrees, bent by noise."""
    x, y = _grid(size)
    x = x + 0.035 * smooth_noise(rng, size, 6, octaves=2)
    y = y + 0.035 * smooth_noise(rng, size, 6, octaves=2)
    turn, frequency = rng.uniform(0.0, np.pi), 2.0 * np.pi / rng.uniform(0.07, 0.12)
    waves = np.zeros((size, size))
    for step in (turn, turn + np.pi / 3.0, turn + 2.0 * np.pi / 3.0):
        waves += np.cos(frequency * (x * np.cos(step) + y * np.sin(step)))
    lines = np.clip((0.2 - waves) / 1.7, 0.0, 1.0)
    fade = np.clip(0.6 + 0.5 * smooth_noise(rng, size, 3), 0.0, 1.0)
    return _float32(lines * fade * rng.uniform(0.3, 0.9))


def _regression(rng: np.random.Generator, change: FloatArray, inner: FloatArray) -> None:
    """Turn some spots inside a lesion lighter than the skin around it, in place."""
    spots = 1.0 / (1.0 + np.exp(-4.0 * (smooth_noise(rng, change.shape[0], 6, 3) - 1.1)))
    weight = _float32(spots * inner)[..., None]
    scar = np.array([rng.uniform(3.0, 8.0), -4.0, -5.0], np.float32)
    change += weight * (scar - change)


def _veil(rng: np.random.Generator, change: FloatArray, inner: FloatArray) -> None:
    """Lay a blue-white veil over a part of a lesion, in place."""
    cover = 1.0 / (1.0 + np.exp(-4.0 * (smooth_noise(rng, change.shape[0], 3, 2) - 0.6)))
    weight = _float32(rng.uniform(0.4, 0.9) * cover * inner)[..., None]
    veil = np.array([-14.0, -9.0, -21.0], np.float32)
    change += weight * (veil - change)


def _canvas(size: int) -> UInt8Array:
    """Empty drawing surface at four times the size: OpenCV draws whole pixels only."""
    return np.zeros((4 * size, 4 * size), np.uint8)


def _shrink(canvas: UInt8Array, size: int) -> FloatArray:
    """Coverage 0..1 of each pixel by what was drawn on a canvas, shape (size, size)."""
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return _float32(small.astype(np.float32) / 255.0)


def _stroke(
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


def _disc(
    canvas: UInt8Array, centre: NDArray[np.floating], radius: float, thickness: float | None = None
) -> None:
    """Draw a disc, or a ring of a thickness; centre (x, y) and lengths in picture sides."""
    scale = canvas.shape[0]
    line = cv2.FILLED if thickness is None else max(round(thickness * scale), 1)
    middle = (round(float(centre[0]) * scale), round(float(centre[1]) * scale))
    cv2.circle(canvas, middle, max(round(radius * scale), 1), 255, line)


def _blend(
    lab: FloatArray, alpha: NDArray[np.floating], colour: tuple[float, float, float]
) -> FloatArray:
    """Lay a colour over a picture with an opacity of shape (size, size)."""
    weight = _float32(alpha)[..., None]
    return _float32(lab * (1.0 - weight) + weight * np.array(colour, np.float32))
