"""A confusion matrix in files: its numbers, a picture of it, and the scores of each class."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..files import replacing
from .bootstrap import nan_mean
from .overlap import counts_of_table

MATRIX, SCORES, PICTURE = "confusion_matrix.csv", "classes.csv", "confusion_matrix.png"
#: Names of scores of a class. ``Acc`` is mmseg's name of the recall.
CLASS_SCORES = ("IoU", "Acc", "Dice", "Precision")

_INCHES = 0.19  # of a row, so that names of 7 points do not touch
_DPI = 110
_MOST_NUMBERS = 30  # classes; in cells of more, numbers could not be read
_FEW = 8  # classes, with room for a decimal
_LONGEST = 40  # letters of a name


def class_scores(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores of each class over all pixels, as mmseg's ``IoUMetric`` computes them.

    Args:
        table: Pixels of each true class, down, by their predicted class, across, (C, C).

    Returns:
        (C, scores) in percent, in the order of :data:`CLASS_SCORES`; nan for 0/0.
    """
    tp, fp, fn, _ = counts_of_table(table).T.astype(np.float64)
    with np.errstate(invalid="ignore"):
        iou, dice = tp / (tp + fp + fn), 2 * tp / (2 * tp + fp + fn)
        precision, recall = tp / (tp + fp), tp / (tp + fn)
    return 100 * np.stack([iou, recall, dice, precision], axis=1)


def write_scores(path: Path, classes: Sequence[str], table: NDArray[np.int64]) -> None:
    """Write a row for each class and one for their means; 0/0 is an empty cell and in no mean."""
    scores = class_scores(table)
    rows = [*scores, nan_mean(scores, axis=0)]
    pixels = [*table.sum(axis=1), table.sum()]
    cells = ([f"{value:.4f}" if value == value else "" for value in row] for row in rows)
    named = zip([*classes, "mean"], cells, pixels, strict=True)
    _write_rows(path, [["class", *CLASS_SCORES, "pixels"], *([n, *c, p] for n, c, p in named)])


def write_matrix(path: Path, classes: Sequence[str], table: NDArray[np.int64]) -> None:
    """Write the pixels of each true class, down, by their predicted class, across."""
    rows = zip(classes, table.tolist(), strict=True)
    _write_rows(path, [["true class", *classes], *([name, *row] for name, row in rows)])


def _write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_picture(path: Path, classes: Sequence[str], table: NDArray[np.int64]) -> None:
    """Draw the matrix, each row in percent of its true class; a class without pixels stays grey."""
    count = len(classes)
    totals = table.sum(axis=1, keepdims=True)
    shares = 100 * table / np.where(totals > 0, totals, np.nan)
    side = max(3.0, _INCHES * count)
    figure = Figure(figsize=(side, side), dpi=_DPI)
    axes = figure.add_subplot()
    axes.set_facecolor("lightgrey")
    # A power below 1 would show rare confusions; the colour bar would then mislead.
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in classes]
    axes.set_xticks(range(count), names, rotation=90, fontsize=7)
    axes.set_yticks(range(count), names, fontsize=7)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title("pixels in percent of each true class", fontsize=9)
    bar = figure.colorbar(image, ax=axes, fraction=0.046 * min(1, 12 / count), pad=0.01)
    bar.ax.tick_params(labelsize=7)
    if count <= _MOST_NUMBERS:
        digits = 1 if count <= _FEW else 0
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.5 / 10**digits:
                colour = "white" if share > 60 else "black"
                text = axes.text(column, row, f"{share:.{digits}f}", color=colour, fontsize=6)
                text.set(ha="center", va="center")
    with replacing(path) as part:
        figure.savefig(part, format="png", bbox_inches="tight")
