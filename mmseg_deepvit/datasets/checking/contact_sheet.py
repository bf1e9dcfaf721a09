"""A contact sheet: small pictures of labels painted over their images."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from ...label_pictures import draw_overlay
from .reading import PairReader
from .survey import Survey

# Shorter side of an image on the sheet, and limit of the longer side, in pixels.
_SIDE, _MOST = 288, 1152
_GAP, _CAPTION = 12, 18
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.4


def draw_contact_sheet(survey: Survey, reader: PairReader, count: int = 9) -> np.ndarray | None:
    """Draw some of the good pairs, evenly spread, with their classes painted over them.

    Without a good pair, pairs that can be read are drawn. Labels outside the classes are left
    unpainted.

    Args:
        survey: Result of the check.
        reader: Reader of the pairs.
        count: Largest number of images on the sheet.

    Returns:
        (H, W, 3), uint8, BGR; None if there is no pair to draw.
    """
    pairs = survey.good or survey.read
    count = min(count, len(pairs))
    numbers = [pairs[i * len(pairs) // count] for i in range(count)]
    tiles = []
    for number in numbers:
        pair = reader.load(number)
        if pair is not None:
            tiles.append(_tile(*pair, Path(reader.infos[number]["img_path"]).name, survey))
    return _arrange(tiles) if tiles else None


def _tile(image: np.ndarray, labels: np.ndarray, name: str, survey: Survey) -> np.ndarray:
    """Draw an overlay at a fixed size, with the file's name below."""
    scale = min(_SIDE / min(labels.shape), _MOST / max(labels.shape))
    size = (max(1, round(labels.shape[1] * scale)), max(1, round(labels.shape[0] * scale)))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size, interpolation=shrink)
    small = cv2.resize(labels.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    picture = draw_overlay(image, small, survey.classes, survey.palette)
    tile = np.pad(picture, ((0, _CAPTION), (0, 0), (0, 0)), constant_values=255)
    origin = (0, tile.shape[0] - 5)
    cv2.putText(tile, name, origin, _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def _arrange(tiles: list[np.ndarray]) -> np.ndarray:
    """Place tiles on white, with about as many rows as columns."""
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    height, width = (max(tile.shape[axis] for tile in tiles) + _GAP for axis in (0, 1))
    sheet = np.full((rows * height + _GAP, columns * width + _GAP, 3), 255, dtype=np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height + _GAP, i % columns * width + _GAP
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet
