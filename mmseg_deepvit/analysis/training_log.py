"""What mmengine logs while training: curves of losses, learning rate and metrics, by iteration."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError

#: A curve: iterations and values, in their order.
Curve = list[tuple[int, float]]

_SCALARS = Path("vis_data") / "scalars.json"
_COUNTERS = ("epoch", "iter", "step")
_CLOCKS = ("data_time", "time")
#: Parts of names whose values are better when they are smaller.
_LOWER_IS_BETTER = re.compile(r"loss|HD95|hausdorff|error", re.IGNORECASE)


class LogLine(NamedTuple):
    """What was logged at once.

    Attributes:
        at: The iteration.
        is_training: Whether it is of training, else of a validation.
        content: As it stands in the file.
    """

    at: int
    is_training: bool
    content: dict[str, Any]


@dataclass
class TrainingLog:
    """The curves of one run.

    Attributes:
        training: By key, what is logged every so many iterations (losses, learning rate, …).
        metrics: By key, what validation found.
        notes: Lines for the user about what could not be read.
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
    """One metric of one run.

    Attributes:
        last: Value of the last validation.
        best: The best value there was.
        iteration: Where that was.
    """

    last: float
    best: float
    iteration: int


def find_logs(run: str) -> list[Path]:
    """The files that a run's scalars are in, oldest first.

    Args:
        run: A work_dir, a folder of one start in it (TIMESTAMP), its ``vis_data``, or a file.

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
    """Read the curves of a run, resumed ones joined; see :func:`read_lines`.

    Args:
        run: As :func:`find_logs` takes it.

    Returns:
        Its curves.

    Raises:
        UserError: There is no log, or nothing in it.
    """
    return draw_curves(*read_lines(run))


def read_lines(run: str) -> tuple[list[LogLine], list[str]]:
    """Read what a run logged, resumed ones joined.

    Where a later start has iterations that an earlier one had too, the later's are taken; what the
    earlier one logged from there on belongs to weights that were given up.

    Args:
        run: As :func:`find_logs` takes it.

    Returns:
        The lines that count, by iteration, and notes of lines that could not be read.

    Raises:
        UserError: There is no log, or nothing in it.
    """
    joined: list[LogLine] = []
    notes: list[str] = []
    for file in find_logs(run):
        lines, found = parse_lines(_read_text(file), str(file))
        joined = join_lines(joined, lines)
        notes += found
    if not joined:
        raise UserError(f"run {run} is empty: nothing has been logged, or no line can be read")
    return joined, notes


def _read_text(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"log {file} cannot be read ({error.strerror})") from error


def parse_lines(lines: Iterable[str], name: str) -> tuple[list[LogLine], list[str]]:
    """Lines of one ``scalars.json``; where iterations go back, a later start begins.

    Args:
        lines: JSON objects: of training those with ``iter``, of validation others with ``step``.
        name: Of the file, for notes.

    Returns:
        The lines, its starts joined, and a note of those that are no such objects: a killed run
        leaves one.
    """
    joined: list[LogLine] = []
    start: list[LogLine] = []
    last, broken = 0, []
    for number, line in enumerate(lines, start=1):
        content = _parse_line(line)
        if content is None:
            broken += [number] if line.strip() else []
        elif "iter" in content:
            if int(content["iter"]) <= last:
                joined, start = join_lines(joined, start), []
            last = int(content["iter"])
            start.append(LogLine(last, True, content))
        else:
            # Where metrics are logged by epoch, step counts epochs: they are never more.
            start.append(LogLine(max(int(content["step"]), last), False, content))
    notes = []
    if broken:
        which = f"line {broken[0]} is" if len(broken) == 1 else f"{len(broken)} lines are"
        notes.append(f"{name}: {which} broken and left out")
    return join_lines(joined, start), notes


def _parse_line(line: str) -> dict[str, Any] | None:
    """What a line holds; None unless it is an object that says when it was logged."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    counters = [record[key] for key in ("iter", "step") if key in record]
    return record if counters and all(isinstance(c, (int, float)) for c in counters) else None


def join_lines(earlier: Sequence[LogLine], later: Sequence[LogLine]) -> list[LogLine]:
    """One run of two starts; see :func:`read_lines`.

    Args:
        earlier: Lines by iteration.
        later: Likewise. Where it has no line of training, as after a validation alone, it replaces
            the same iterations only.
    """
    start = min((line.at for line in later if line.is_training), default=math.inf)
    replaced = {(line.at, line.is_training) for line in later}
    kept = [x for x in earlier if x.at < start and (x.at, x.is_training) not in replaced]
    return sorted([*kept, *later], key=lambda line: line.at)


def draw_curves(lines: Iterable[LogLine], notes: Sequence[str] = ()) -> TrainingLog:
    """Curves of a run's lines."""
    log = TrainingLog(notes=list(notes))
    for line in lines:
        curves = log.training if line.is_training else log.metrics
        leave = _COUNTERS if line.is_training else (*_COUNTERS, *_CLOCKS)
        for key, value in line.content.items():
            if key not in leave and isinstance(value, (int, float)):
                curves.setdefault(key, []).append((line.at, float(value)))
    return log


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """Exponential moving average that starts at the first value, without bias towards 0.

    Args:
        values: nan and infinite ones are passed through and change nothing.
        weight: Of the past, in [0, 1); 0 changes nothing.

    Returns:
        As many values.
    """
    total, mass, smoothed = 0.0, 0.0, []
    for value in values:
        if abs(value) < float("inf"):
            total = weight * total + (1 - weight) * value
            mass = weight * mass + (1 - weight)
            smoothed.append(total / mass)
        else:
            smoothed.append(value)
    return smoothed


def is_bound(key: str, keys: Iterable[str]) -> bool:
    """Whether a key is the spread or a bound of another one, as :class:`PerImageMetric` logs."""
    base = re.sub(r"_(std|low|high)$", "", key)
    return base != key and base in keys


def summarize(key: str, curve: Curve) -> Summary:
    """Last and best value of a metric; of losses, errors and distances the best is the smallest."""
    finite = [(at, value) for at, value in curve if value == value] or curve
    choose = min if _LOWER_IS_BETTER.search(key) else max
    at, best = choose(finite, key=lambda point: point[1])
    return Summary(curve[-1][1], best, at)
