"""Scores of each image of a test, as small files that tables and intervals are made from."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError

#: What is kept of ``PerImageMetric``'s columns.
SCORES = ("Dice", "TJaccard")


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Scores in percent, by score and by the image's file name.

    Args:
        path: A CSV file of ``PerImageMetric``, of one class, or what :func:`keep_scores` wrote.

    Raises:
        UserError: The file is not there, or is no such file.
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


def keep_scores(source: Path, target: Path) -> None:
    """Write the columns that are kept, of file names without folders.

    Args:
        source: ``PerImageMetric``'s file.
        target: Replaced if it is there.

    Raises:
        UserError: As :func:`read_scores`.
    """
    scores = read_scores(source)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *SCORES])
        for name in scores[SCORES[0]]:
            writer.writerow([name, *(f"{scores[s][name]:.2f}" for s in SCORES)])


def common_images(files: Sequence[dict[str, float]], what: str) -> list[str]:
    """Names of the images of several tests, which must be the same.

    Raises:
        UserError: They are not; ``what`` says whose they are.
    """
    names = sorted(files[0])
    if any(sorted(file) != names for file in files[1:]):
        raise UserError(f"tests of {what} are not of the same images: run them again")
    return names
