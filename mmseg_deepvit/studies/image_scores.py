"""Scores of each image of a test, the source of tables and intervals."""

from __future__ import annotations

import csv
from pathlib import Path

from ..errors import UserError

#: Columns of ``PerImageMetric`` that are kept.
SCORES = ("Dice", "TJaccard")
#: Scores of a test in percent, by score and by the image's file name.
ImageScores = dict[str, dict[str, float]]


def read_scores(path: Path) -> ImageScores:
    """Read the scores of a test.

    Args:
        path: Path of a CSV file of ``PerImageMetric``, of one class.

    Raises:
        UserError: The file is missing, or is no such file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = [Path(row["image"]).name for row in rows]
        found = {s: [float(row[s]) for row in rows] for s in SCORES}
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not what a PerImageMetric wrote ({error}): it needs an image and "
            f"{', '.join(SCORES)} in each row"
        ) from error
    if len(set(names)) < len(names):
        raise UserError(f"{path} has several rows of an image: score one class")
    return {s: dict(zip(names, values, strict=True)) for s, values in found.items()}
