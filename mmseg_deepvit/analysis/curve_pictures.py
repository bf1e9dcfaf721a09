"""Training curves of one or more runs as panels of one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from ..errors import UserError
from ..files import replacing
from .training_log import Curve, TrainingLog, is_bound, smooth

#: What keys that are drawn by themselves start with, beside losses, metrics and learning rate.
COLLAPSE = "collapse/"
_STYLES: tuple[LineStyleType, ...] = ("-", "--", ":", "-.")
_COLUMNS = 3
_FONT_SIZE = 8


@dataclass(frozen=True)
class Panel:
    """Curves that share axes.

    Attributes:
        title: Stands above them, if they are several.
        keys: Of the curves.
    """

    title: str
    keys: tuple[str, ...]


def choose_panels(logs: Sequence[TrainingLog], keys: Sequence[str] | None = None) -> list[Panel]:
    """What is drawn: the keys that are asked for, or losses, metrics, learning rate and collapse.

    Args:
        logs: Of all runs. Of one run, parts of the loss and related metrics share a panel; of
            several, each key has its own, so that runs can be told apart.
        keys: Each gets its own panel. None draws what is said above.

    Returns:
        Panels in their order.

    Raises:
        UserError: A key that no run has; it lists those there are.
    """
    there = list(dict.fromkeys(key for log in logs for key in log.keys))
    unknown = [key for key in keys or () if key not in there]
    if unknown:
        raise UserError(f"--keys {unknown[0]} is in no run: there are {', '.join(there)}")
    if keys:
        return [Panel(key, (key,)) for key in dict.fromkeys(keys)]
    measured = {key for log in logs for key in log.metrics}
    groups: dict[str, list[str]] = {}
    for key in there:
        group = _group(key, key in measured)
        if group is not None and not is_bound(key, there):
            groups.setdefault(key if len(logs) > 1 else group, []).append(key)
    order = sorted(groups, key=lambda title: _rank(groups[title][0], measured))
    return [Panel(title, tuple(groups[title])) for title in order]


def _group(key: str, measured: bool) -> str | None:
    """Title of the panel that a key of one run belongs to; None for keys that are not drawn."""
    if key.startswith(COLLAPSE):
        return key  # measures of collapse have scales of their own
    if measured:
        # A distance in pixels among percentages would flatten them.
        return key if "HD95" in key else f"validation {key.rpartition('/')[0]}".strip()
    if key.rpartition(".")[2].startswith("loss"):
        return "loss"
    return "learning rate" if key == "lr" else None


def _rank(key: str, measured: set[str]) -> int:
    """Losses, metrics, learning rate, collapse."""
    if key.startswith(COLLAPSE):
        return 3
    if key in measured:
        return 1
    return 2 if key == "lr" else 0


def plot_runs(
    path: str, runs: Mapping[str, TrainingLog], panels: Sequence[Panel], weight: float = 0.0
) -> None:
    """Draw panels and write the picture.

    Args:
        path: Picture file; its ending says the format. Its folder is made.
        runs: By name.
        panels: At least one.
        weight: How much curves of training are smoothed, in [0, 1); they are drawn pale as logged
            too.

    Raises:
        UserError: The file cannot be written.
    """
    columns = 2 if len(panels) == 4 else min(len(panels), _COLUMNS)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * lines + 0.3), dpi=160, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flat
    end = max(log.curve(key)[-1][0] for log in runs.values() for key in log.keys)
    for panel in panels:
        axis = next(axes)
        _draw_panel(axis, panel, runs, weight)
        axis.set_xlim(-0.03 * end, 1.03 * end)
    for axis in axes:
        axis.axis("off")
    if len(runs) > 1:
        marks = [Line2D([], [], color=f"C{i % 10}", label=name) for i, name in enumerate(runs)]
        figure.legend(
            handles=marks, loc="outside upper center", ncols=min(len(runs), 4), fontsize=_FONT_SIZE
        )
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        kind = Path(path).suffix.removeprefix(".") or "png"
        with replacing(path) as part:
            figure.savefig(part, format=kind, bbox_inches="tight", pad_inches=0.05)
    except (OSError, ValueError) as error:
        raise UserError(f"--out {path} cannot be written ({error})") from error


def _draw_panel(axis: Axes, panel: Panel, runs: Mapping[str, TrainingLog], weight: float) -> None:
    """Runs differ in colour; keys in colour where there is one run, else in style."""
    alone = len(runs) == 1
    styles = [_STYLES[0 if alone else j % len(_STYLES)] for j in range(len(panel.keys))]
    for i, log in enumerate(runs.values()):
        for j, key in enumerate(panel.keys):
            _draw_curve(axis, log, key, f"C{(j if alone else i) % 10}", styles[j], weight)
    title = panel.keys[0] if len(panel.keys) == 1 else panel.title
    axis.set_title("learning rate" if title == "lr" else title, fontsize=_FONT_SIZE + 1)
    axis.set_xlabel("iteration", fontsize=_FONT_SIZE)
    axis.tick_params(labelsize=_FONT_SIZE - 1)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    if len(panel.keys) > 1:
        # The prefix is in the title.
        common = f"{panel.title.removeprefix('validation ')}/"
        colours = [f"C{j % 10}" if alone else "0.3" for j in range(len(panel.keys))]
        marks = [
            Line2D([], [], color=colour, linestyle=style, label=key.removeprefix(common))
            for key, colour, style in zip(panel.keys, colours, styles, strict=True)
        ]
        axis.legend(handles=marks, fontsize=_FONT_SIZE - 1, framealpha=0.7)


def _draw_curve(
    axis: Axes, log: TrainingLog, key: str, colour: str, style: LineStyleType, weight: float
) -> None:
    if key in log.metrics:
        at, values = _columns(log.metrics[key])
        axis.plot(at, values, color=colour, linestyle=style, marker="o", markersize=3)
        low, high = (log.metrics.get(f"{key}_{end}") for end in ("low", "high"))
        if low and high and len(low) == len(high) == len(at):
            lows, highs = _columns(low)[1], _columns(high)[1]
            axis.fill_between(at, lows, highs, color=colour, alpha=0.15, linewidth=0)
            axis.vlines(at, lows, highs, color=colour, alpha=0.4, linewidth=1)
    elif key in log.training:
        at, values = _columns(log.training[key])
        if weight and key != "lr":
            axis.plot(at, values, color=colour, linestyle=style, linewidth=0.8, alpha=0.25)
            values = smooth(values, weight)
        axis.plot(at, values, color=colour, linestyle=style, linewidth=1.2)


def _columns(curve: Curve) -> tuple[list[int], list[float]]:
    return [at for at, _ in curve], [value for _, value in curve]
