"""A study's figure: score and measures of collapse against a label that is a number."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ..files import replacing
from .study import Study
from .table import MEASURES, Row

_COLUMNS = 3


def numeric_label(study: Study) -> str | None:
    """The first label that is a number in every model, None if there is none."""
    for column in study.columns:
        values = [model.labels.get(column) for model in study.models.values()]
        if all(isinstance(value, (int, float)) for value in values):
            return column
    return None


def draw_figure(path: Path, study: Study, rows: Mapping[tuple[str, str], Row]) -> bool:
    """Draw a panel for the score and for each measure of the study.

    Models that share the other labels are one line. Points are seeds, lines go through their means,
    and bars are the score's 95 % interval.

    Args:
        path: Path of a PNG.
        study: The study.
        rows: Rows of :func:`~mmseg_deepvit.studies.table.read_rows`; first tests are drawn.

    Returns:
        Whether the study has a label to draw against.
    """
    x_label = numeric_label(study)
    if x_label is None:
        return False
    lines: dict[str, list[Row]] = {}
    for (name, test), row in rows.items():
        if test == next(iter(study.models[name].tests)):
            others = [str(v) for k, v in row.model.labels.items() if k != x_label]
            lines.setdefault(", ".join(others), []).append(row)
    measures = [next(iter(rows.values())).score, *study.measures]
    columns = min(_COLUMNS, len(measures))
    height = -(-len(measures) // columns)
    figure = Figure(figsize=(4 * columns, 3 * height + 0.4), layout="constrained")
    axes = list(figure.subplots(height, columns, squeeze=False).flat)
    for axis, measure in zip(axes, measures, strict=False):
        _draw_panel(axis, lines, x_label, measure)
    for axis in axes[len(measures) :]:
        axis.axis("off")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100, format="png")
    with replacing(path) as part:  # 64 colours take a third of the bytes
        Image.open(drawn).convert("RGB").quantize(64).save(part, "PNG", optimize=True)
    return True


def _draw_panel(axis: Axes, lines: Mapping[str, list[Row]], x_label: str, measure: str) -> None:
    """Draw one measure, the lines a little apart, so that their bars do not overlap."""
    every = sorted({row.model.labels[x_label] for rows in lines.values() for row in rows})
    step = 0.012 * (every[-1] - every[0] or 1)
    for i, (name, rows) in enumerate(lines.items()):
        xs = np.array([row.model.labels[x_label] for row in rows]) + step * (i - len(lines) / 2)
        values = [_seeds(row, measure) for row in rows]
        means = [np.mean(v) for v in values]
        axis.plot(xs, means, color=f"C{i}", marker="o", markersize=4, label=name)
        for x, points in zip(xs, values, strict=True):
            axis.plot([x] * len(points), points, ".", color=f"C{i}", markersize=3, alpha=0.6)
        if measure == rows[0].score:
            intervals = [row.interval() for row in rows]
            axis.vlines(xs, [v.low for v in intervals], [v.high for v in intervals], color=f"C{i}")
    axis.set(title=MEASURES.get(measure, measure), xlabel=x_label, xticks=every)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _seeds(row: Row, measure: str) -> list[float]:
    if measure == row.score:
        return [*row.of_seeds]
    return [value for value in row.collapse[measure] if not np.isnan(value)] or [np.nan]
