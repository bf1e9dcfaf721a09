"""Charts of the page as options of Apache ECharts: collapse over the blocks, curves of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..analysis.collapse import Collapse
from ..analysis.curve_pictures import COLLAPSE, choose_keys
from ..analysis.training_log import TrainingLog, summarize

#: Points (x, y) of a line.
Line = Sequence[tuple[float, float]]

_COLOURS = ["#d9480f", "#1864ab", "#2b8a3e"]
_STEP = 0.2  # between the marks of an axis of cosines
_GREY = "#868e96"
_ROUNDED = "value => value == null ? '–' : Number(value.toPrecision(4))"


#: Heading of the scores of the validation.
SCORES = "Scores of the validation"
#: Headings of a run's charts, and which keys stand under each: the first that takes a key.
GROUPS: dict[str, Callable[[str, TrainingLog], bool]] = {
    "Collapse": lambda key, log: key.startswith(COLLAPSE),
    SCORES: lambda key, log: key in log.metrics and key not in log.training,
    "Training": lambda key, log: True,
}


class Panel(NamedTuple):
    """A chart of measures over the blocks.

    Attributes:
        title: Title of the chart.
        meaning: How to read it.
        measures: Measure of :class:`~mmseg_deepvit.analysis.Collapse` by the line's name.
        most: Largest possible value, which ends the axis; None where the data ends it.
    """

    title: str
    meaning: str
    measures: dict[str, str]
    most: int | None = 1


class RunChart(NamedTuple):
    """A chart of one key of a run's log.

    Attributes:
        group: Heading that it stands under.
        title: Title of the chart.
        summary: Last value, and the best one of scores.
        options: Options of the chart.
    """

    group: str
    title: str
    summary: str
    options: dict[str, Any]


_BOTH = "before mixing, P", "after mixing, A"


def _both(measure: str) -> dict[str, str]:
    return dict(zip(_BOTH, (measure.format("P"), measure.format("A")), strict=True))


PANELS = (
    Panel(
        "Maps of a block and the one before",
        "Cosine similarity. Near 1, a block attends as the one before did.",
        _both("similarity_{}_k1"),
    ),
    Panel(
        "Maps of two heads of a block",
        "Cosine similarity. Near 1, all heads attend alike.",
        _both("head_similarity_{}"),
    ),
    Panel(
        "Patches of the image",
        "Mean |cos| of two patch tokens. Near 1, patches cannot be told apart.",
        {"patch similarity": "patch_similarity"},
    ),
    Panel(
        "Effective rank of the tokens",
        "Number of directions that the patch tokens use.",
        {"effective rank": "effective_rank"},
        None,
    ),
    Panel(
        "Entropy of attention",
        "Share of ln N, before mixing. At 1, a patch attends to all patches equally.",
        {"entropy of P": "entropy"},
    ),
)


def line_chart(lines: Mapping[str, Line], x_name: str, dots: bool = True) -> dict[str, Any]:
    """Options of a chart with some lines.

    Args:
        lines: Points by the line's name; a line that ends in ``low`` or ``high`` is a bound.
        x_name: Name of the x axis, whose values are whole numbers.
        dots: Whether the points are marked.
    """
    places = {x for line in lines.values() for x, _ in line}
    return {
        "animation": False,
        "color": _COLOURS,
        "grid": {"left": 8, "right": 18, "top": 34, "bottom": 26, "containLabel": True},
        "legend": {"show": len(lines) > 1, "top": 0, "left": 0, "itemWidth": 16},
        "tooltip": {"trigger": "axis", "confine": True, ":valueFormatter": _ROUNDED},
        "xAxis": {
            "type": "value",
            "name": x_name,
            "nameLocation": "middle",
            "nameGap": 26,
            "minInterval": 1,
            **({"min": "dataMin", "max": "dataMax"} if len(places) > 1 else {"scale": True}),
            "splitLine": {"show": False},
        },
        "yAxis": {"type": "value", "scale": True, "splitNumber": 4},
        "series": [_series(name, line, dots) for name, line in lines.items()],
    }


def _series(name: str, line: Line, dots: bool) -> dict[str, Any]:
    is_bound = name in ("low", "high")
    style = {"width": 1, "type": "dashed", "color": _GREY} if is_bound else {"width": 2}
    return {
        "name": name,
        "type": "line",
        "data": [[x, y if math.isfinite(y) else None] for x, y in line],
        "showSymbol": dots and not is_bound,
        "symbolSize": 6,
        "sampling": "lttb",
        "lineStyle": style,
        **({"itemStyle": {"color": _GREY}} if is_bound else {}),
    }


def collapse_charts(found: Sequence[Collapse]) -> list[tuple[Panel, dict[str, Any]]]:
    """Each panel with its chart: means over images that were measured one by one.

    Args:
        found: Measures of one model on each image, at least one.
    """
    charts = []
    for panel in PANELS:
        lines = {}
        for name, measure in panel.measures.items():
            values = np.mean([one.mean[measure] for one in found], axis=0)
            lines[name] = [(block, float(value)) for block, value in enumerate(values)]
        if len(lines) == 2 and len({tuple(map(repr, line)) for line in lines.values()}) == 1:
            lines = {"P = A, no head is mixed": next(iter(lines.values()))}
        options = line_chart(lines, "block")
        if panel.most is not None:
            options["yAxis"] |= _fixed_axis(panel.most, lines)
        charts.append((panel, options))
    return charts


def _fixed_axis(most: int, lines: Mapping[str, Line]) -> dict[str, Any]:
    """An axis from 0, or the step below the lowest value, to the largest possible value."""
    lowest = min((y for line in lines.values() for _, y in line if math.isfinite(y)), default=0.0)
    least = min(0.0, math.floor(lowest / _STEP) * _STEP)
    return {"scale": False, "min": round(least, 6), "max": most, "interval": _STEP}


def training_charts(log: TrainingLog) -> dict[str, RunChart]:
    """Charts of losses, learning rate, scores and measures of collapse, by key."""
    charts = {}
    for key in choose_keys([log]):
        lines: dict[str, Line] = {key: log.curve(key)}
        lines |= {end: log.curve(f"{key}_{end}") for end in ("low", "high")}
        lines = {name: line for name, line in lines.items() if line}
        options = line_chart(lines, "iteration", dots=key in log.metrics)
        options["legend"]["show"] = False
        options["grid"]["top"] = 12
        group = next(group for group, belongs in GROUPS.items() if belongs(key, log))
        last, best, iteration = summarize(key, log.curve(key))
        said = f"last {last:.4g}"
        if group == SCORES:
            said += f", best {best:.4g} at {iteration}"
        charts[key] = RunChart(group, "learning rate" if key == "lr" else key, said, options)
    return charts
