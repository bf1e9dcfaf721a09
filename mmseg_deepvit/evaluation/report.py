"""Scores in writing: a table for the log, and a CSV file."""

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
from .overlap import COUNTS


def format_table(rows: Sequence[str], metrics: Sequence[str], summary: Summary) -> str:
    """Draw a table with a row for each class: mean ± standard deviation, interval of the mean.

    Args:
        rows: Names of R rows.
        metrics: Names of M scores.
        summary: Statistics of R·M columns, row after row.

    Returns:
        Several lines. ``Images`` counts the images in which a class has any score; a cell with
        fewer images says how many.
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
    counts: NDArray[np.int64],
) -> None:
    """Write a row for each image and class, the full file or nothing.

    Args:
        path: Path of the file; missing folders are made.
        images: Paths of N images.
        classes: Names of K classes.
        metrics: Names of M scores, the columns after ``image`` and ``class``.
        scores: Scores, (N, K, M); nan becomes an empty cell.
        counts: Pixels of TP, FP, FN and TN, (N, K, 4), the last columns.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "class", *metrics, *COUNTS])
            for image, *of_image in zip(images, scores.tolist(), counts.tolist(), strict=True):
                for name, row, pixels in zip(classes, *of_image, strict=True):
                    cells = ("" if v != v else v for v in row)
                    writer.writerow([image, name, *cells, *pixels])
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); set csv_path elsewhere"
        ) from error
