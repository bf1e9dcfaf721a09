"""What mmengine logs while training: curves of losses, learning rate and metrics, by iteration."""

from __future__ import annotations

import json
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
    """Read a run, resumed ones joined.

    Where a later start has iterations that an earlier one had too, the later's are taken; what the
    earlier one logged from there on belongs to weights that were given up.

    Args:
        run: As :func:`find_logs` takes it.

    Returns:
        Its curves.

    Raises:
        UserError: There is no log, or nothing in it.
    """
    joined = TrainingLog()
    for file in find_logs(run):
        log = parse_log(_read_lines(file), str(file))
        joined = join_logs(joined, log)
    if not joined.keys:
        raise UserError(f"run {run} is empty: nothing has been logged, or no line can be read")
    return joined


def _read_lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"log {file} cannot be read ({error.strerror})") from error


def parse_log(lines: Iterable[str], name: str) -> TrainingLog:
    """Curves of the lines of one ``scalars.json``.

    Args:
        lines: JSON objects: of training those with ``iter``, of validation others with ``step``.
        name: Of the file, for notes.

    Returns:
        Curves, with a note of lines that are no such objects: a killed run leaves one.
    """
    log = TrainingLog()
    last, broken = 0, []
    for number, line in enumerate(lines, start=1):
        record = _parse_line(line)
        if record is None:
            broken += [number] if line.strip() else []
        elif "iter" in record:
            last = int(record["iter"])
            _add(log.training, record, last, _COUNTERS)
        else:
            # Where metrics are logged by epoch, step counts epochs: they are never more.
            _add(log.metrics, record, max(int(record["step"]), last), (*_COUNTERS, *_CLOCKS))
    if broken:
        which = f"line {broken[0]} is" if len(broken) == 1 else f"{len(broken)} lines are"
        log.notes.append(f"{name}: {which} broken and left out")
    return log


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


def _add(curves: dict[str, Curve], record: dict[str, Any], at: int, leave: Sequence[str]) -> None:
    for key, value in record.items():
        if key not in leave and isinstance(value, (int, float)):
            curves.setdefault(key, []).append((at, float(value)))


def join_logs(earlier: TrainingLog, later: TrainingLog) -> TrainingLog:
    """One run of two starts; see :func:`read_log`.

    Args:
        earlier: Left as it is.
        later: Likewise. Where it has no line of training, as after a validation alone, it replaces
            the same iterations only.

    Returns:
        Their curves joined, and their notes.
    """
    start = min((curve[0][0] for curve in later.training.values()), default=None)
    joined = TrainingLog(notes=[*earlier.notes, *later.notes])
    for name in ("training", "metrics"):
        old, new = getattr(earlier, name), getattr(later, name)
        for key in dict.fromkeys([*old, *new]):
            added = new.get(key, [])
            replaced = {at for at, _ in added}
            kept = [
                (at, value)
                for at, value in old.get(key, [])
                if at not in replaced and (start is None or at < start)
            ]
            getattr(joined, name)[key] = sorted([*kept, *added], key=lambda point: point[0])
    for curves in (joined.training, joined.metrics):
        for key in [key for key, curve in curves.items() if not curve]:
            del curves[key]
    return joined


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
