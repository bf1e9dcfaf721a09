"""Curves that mmengine logs while it trains: losses, learning rate and metrics by iteration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError

#: Iterations and values of a curve, in their order.
Curve = list[tuple[int, float]]

_SCALARS = Path("vis_data") / "scalars.json"
_COUNTERS = {"epoch", "iter", "step"}
_CLOCKS = {"data_time", "time"}
#: Parts of the names of metrics that are better when they are smaller.
_LOWER_IS_BETTER = re.compile(r"loss|HD95|hausdorff|error", re.IGNORECASE)


@dataclass
class TrainingLog:
    """The curves of one run.

    Attributes:
        training: Curves of training by key: losses, learning rate, times.
        metrics: Curves of validation, and of measures of collapse, by key.
        notes: Lines for the user about text that could not be read.
    """

    training: dict[str, Curve] = field(default_factory=dict)
    metrics: dict[str, Curve] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """All keys, those of training first."""
        return list(dict.fromkeys([*self.training, *self.metrics]))

    def curve(self, key: str) -> Curve:
        """The curve of a key; empty where there is none."""
        return self.training.get(key) or self.metrics.get(key) or []


class Summary(NamedTuple):
    """Last and best value of one metric.

    Attributes:
        last: Value of the last validation.
        best: Best value of all.
        iteration: Iteration of the best value.
    """

    last: float
    best: float
    iteration: int


def find_logs(run: str) -> list[Path]:
    """The files that hold a run's scalars, oldest first.

    Args:
        run: Path of a work_dir, of one start's folder in it, of its ``vis_data``, or of a file.

    Raises:
        UserError: There are none.
    """
    path = Path(run)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"run {run} does not exist: give a work_dir, or a scalars.json in it")
    for file in (path / _SCALARS, path / _SCALARS.name):
        if file.is_file():
            return [file]
    # Names are times: their order is that of the starts.
    files = sorted(path.glob(f"*/{_SCALARS}"))
    if not files:
        raise UserError(f"run {run} has no log: looked for {_SCALARS} in it and in its folders")
    return files


def read_log(run: str) -> TrainingLog:
    """Read the curves of a run, its starts joined; see :func:`join_starts`.

    Args:
        run: Path as :func:`find_logs` takes it.

    Raises:
        UserError: There is no log, it cannot be read, or it holds nothing.
    """
    lines = {}
    for file in find_logs(run):
        try:
            lines[str(file)] = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise UserError(f"log {file} cannot be read ({error.strerror})") from error
    log = join_starts(lines)
    if not log.keys:
        raise UserError(f"run {run} is empty: nothing has been logged, or no line can be read")
    return log


def join_starts(files: Mapping[str, Iterable[str]]) -> TrainingLog:
    """Join the starts of one run.

    Where the iterations of training go back, a later start has resumed. It replaces all that an
    earlier start logged from there on, which belongs to weights that were given up.

    Args:
        files: Lines of each ``scalars.json`` by its name, oldest file first. Lines of training have
            ``iter``, those of validation ``step`` alone.

    Returns:
        Curves, and notes of broken lines, such as a killed run leaves.
    """
    kept: dict[tuple[int, bool], dict[str, Any]] = {}
    notes = []
    for name, lines in files.items():
        last, broken = 0, []
        for number, line in enumerate(lines, start=1):
            content = _parse_line(line)
            if content is None:
                broken += [number] if line.strip() else []
                continue
            is_training = "iter" in content
            if is_training:
                at = last = int(content["iter"])
                if any(t and x >= at for x, t in kept):
                    kept = {key: old for key, old in kept.items() if key[0] < at}
            else:
                # Where metrics are logged by epoch, step counts epochs, which are fewer.
                at = max(int(content["step"]), last)
            kept[at, is_training] = {**kept.get((at, is_training), {}), **content}
        if broken:
            which = f"line {broken[0]} is" if len(broken) == 1 else f"{len(broken)} lines are"
            notes.append(f"{name}: {which} broken and left out")
    log = TrainingLog(notes=notes)
    for (at, is_training), content in sorted(kept.items(), key=lambda item: item[0]):
        curves = log.training if is_training else log.metrics
        leave = _COUNTERS if is_training else _COUNTERS | _CLOCKS
        for key, value in content.items():
            if key not in leave and isinstance(value, int | float):
                curves.setdefault(key, []).append((at, float(value)))
    return log


def _parse_line(line: str) -> dict[str, Any] | None:
    """The content of a line; None unless it is an object with the time of its logging."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    counters = [record[key] for key in ("iter", "step") if key in record]
    return record if counters and all(isinstance(c, int | float) for c in counters) else None


def is_bound(key: str, keys: Iterable[str]) -> bool:
    """Whether a key is the spread or a bound of another one, as ``PerImageMetric`` logs them."""
    base = re.sub(r"_(std|low|high)$", "", key)
    return base != key and base in keys


def summarize(key: str, curve: Curve) -> Summary:
    """Last and best value of a metric; of losses, errors and distances the smallest is the best."""
    finite = [(at, value) for at, value in curve if value == value] or curve
    choose = min if _LOWER_IS_BETTER.search(key) else max
    at, best = choose(finite, key=lambda point: point[1])
    return Summary(curve[-1][1], best, at)
