"""What each image of a test adds to its score, the source of tables and intervals.

One class is scored by the mean over images of its Dice. Several are scored by mIoU, for which each
class's intersections and unions are added up over images first.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

#: Columns of ``PerImageMetric`` that are kept of one class.
SCORES = ("Dice", "TJaccard")
#: Endings of the columns that are kept of each of several classes, in pixels.
PARTS = (" intersection", " union")
#: Values of a test by column, SCORES in percent or the PARTS of classes, and by the image's name.
ImageScores = dict[str, dict[str, float]]


def read_scores(path: Path) -> ImageScores:
    """Read what a ``PerImageMetric`` wrote of a test.

    Args:
        path: Path of its CSV file.

    Raises:
        UserError: The file is missing, or is no such file.
    """
    found: ImageScores = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        several = len({row["class"] for row in rows}) > 1
        for row in rows:
            name = Path(row["image"]).name
            for column, value in (_parts(row) if several else _scores(row)).items():
                images = found.setdefault(column, {})
                if name in images:
                    raise UserError(f"{path} has two images of the name {name}; rename one")
                images[name] = value
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not what a PerImageMetric wrote ({error}): it needs image, class, "
            f"{', '.join(SCORES)}, TP, FP and FN in each row"
        ) from error
    return found


def _scores(row: Mapping[str, str]) -> dict[str, float]:
    return {score: float(row[score]) for score in SCORES}


def _parts(row: Mapping[str, str]) -> dict[str, float]:
    both, *either = (float(row[name]) for name in ("TP", "FP", "FN"))
    return {row["class"] + PARTS[0]: both, row["class"] + PARTS[1]: both + sum(either)}


def mean_iou(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """MIoU in percent of intersections and unions, (..., classes, 2); absent classes are left out.

    Reference: mmsegmentation ``mmseg/evaluation/metrics/iou_metric.py``.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(100 * np.nanmean(parts[..., 0] / parts[..., 1], axis=-1))
