"""Scores as people read them: a table for the log, a CSV file for everything else."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prettytable import PrettyTable

from ..errors import UserError
from ..files import replacing
from .bootstrap import Summary


def format_table(rows: Sequence[str], metrics: Sequence[str], summary: Summary) -> str:
    """A table with a row a class: mean ± standard deviation, and the mean's interval below.

    Args:
        rows: R names.
        metrics: M names.
        summary: Of R·M columns, the metrics of a row side by side.

    Returns:
        Several lines. ``Images`` counts those in which a class has any score; a cell with fewer
        names its own number.
    """
    table = PrettyTable(["Class", "Images", *metrics])
    images = summary.count.reshape(len(rows), len(metrics)).max(axis=1)
    for r, name in enumerate(rows):
        columns = range(r * len(metrics), (r + 1) * len(metrics))
        table.add_row([name, images[r], *(_cell(summary, c, images[r]) for c in columns)])
    return table.get_string()


def _cell(summary: Summary, column: int, images: int) -> str:
    count = summary.count[column]
    if not count:
        return "–"
    text = (
        f"{summary.mean[column]:.2f} ± {summary.std[column]:.2f}\n"
        f"[{summary.low[column]:.2f}, {summary.high[column]:.2f}]"
    )
    return text if count == images else f"{text}\n{count} images"


def write_csv(
    path: Path,
    images: Sequence[str],
    classes: Sequence[str],
    metrics: Sequence[str],
    scores: NDArray[np.float64],
) -> None:
    """Write a row for each image and class, the whole file or none of it.

    Args:
        path: The file; missing folders are made.
        images: N paths.
        classes: K names.
        metrics: M names, which head the columns after ``image`` and ``class``.
        scores: (N, K, M); nan becomes an empty cell.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            replacing(path) as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["image", "class", *metrics])
            for image, of_image in zip(images, scores.tolist(), strict=True):
                for name, row in zip(classes, of_image, strict=True):
                    writer.writerow([image, name, *("" if v != v else v for v in row)])
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): set csv_path elsewhere"
        ) from error
