"""Training curves of one or more runs as panels of one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..command_line import writing
from ..errors import UserError
from .training_log import Curve, TrainingLog, is_bound

#: Beginning of the names of measures of collapse.
COLLAPSE = "collapse/"
_COLUMNS = 3
_FONT_SIZE = 8


def choose_keys(logs: Sequence[TrainingLog], asked: Sequence[str] | None = None) -> list[str]:
    """Keys to draw: losses, metrics, learning rate and measures of collapse, in this order.

    Args:
        logs: Logs of all runs.
        asked: Keys to draw instead.

    Raises:
        UserError: No run has a key that was asked for; the message lists the keys there are.
    """
    there = list(dict.fromkeys(key for log in logs for key in log.keys))
    if unknown := [key for key in asked or () if key not in there]:
        raise UserError(f"--keys {unknown[0]} is in no run: there are {', '.join(there)}")
    if asked:
        return list(dict.fromkeys(asked))
    metrics = [key for log in logs for key in log.metrics if not is_bound(key, there)]
    losses = [key for key in there if key.rpartition(".")[2].startswith("loss")]
    measures = [key for key in there if key.startswith(COLLAPSE)]
    rates = [key for key in there if key == "lr"]
    scores = [key for key in metrics if key not in measures]
    return list(dict.fromkeys([*losses, *scores, *rates, *measures]))


def plot_runs(path: str, runs: Mapping[str, TrainingLog], keys: Sequence[str]) -> None:
    """Draw a panel for each key, a colour for each run, and write the picture.

    Args:
        path: Path of the picture; its ending is the format. Its folder is made.
        runs: Logs by the run's name.
        keys: Keys to draw, at least one.

    Raises:
        UserError: The file cannot be written.
    """
    columns = 2 if len(keys) == 4 else min(len(keys), _COLUMNS)
    lines = -(-len(keys) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * lines + 0.3), dpi=160, layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False, sharex=True).flat)
    for axis, key in zip(panels, keys, strict=False):
        for i, log in enumerate(runs.values()):
            _draw_curve(axis, log, key, f"C{i % 10}")
        axis.set_title("learning rate" if key == "lr" else key, fontsize=_FONT_SIZE + 1)
        axis.set_xlabel("iteration", fontsize=_FONT_SIZE)
        axis.tick_params(labelsize=_FONT_SIZE - 1, labelbottom=True)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in panels[len(keys) :]:
        axis.axis("off")
    if len(runs) > 1:
        marks = [axis.plot([], [], color=f"C{i % 10}")[0] for i in range(len(runs))]
        figure.legend(marks, list(runs), loc="outside upper center", ncols=4, fontsize=_FONT_SIZE)
    with writing(path, "--out") as part:
        figure.savefig(part, format=Path(path).suffix[1:] or "png", bbox_inches="tight")


def _draw_curve(axis: Axes, log: TrainingLog, key: str, colour: str) -> None:
    """One curve; metrics have points, and bars where the log has bounds."""
    curve = log.curve(key)
    if not curve:
        return
    at, values = _columns(curve)
    is_metric = key in log.metrics and key not in log.training
    axis.plot(
        at, values, color=colour, linewidth=1.2, marker="o" if is_metric else "", markersize=3
    )
    low, high = (log.metrics.get(f"{key}_{end}", []) for end in ("low", "high"))
    if is_metric and len(low) == len(high) == len(at):
        lows, highs = _columns(low)[1], _columns(high)[1]
        axis.fill_between(at, lows, highs, color=colour, alpha=0.15, linewidth=0)
        axis.vlines(at, lows, highs, color=colour, alpha=0.4, linewidth=1)


def _columns(curve: Curve) -> tuple[list[int], list[float]]:
    return [at for at, _ in curve], [value for _, value in curve]
