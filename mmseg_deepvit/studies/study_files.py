"""The two files of a study's results: ``runs.json`` and ``scores.csv.xz``.

``runs.json`` has a record of each run. Runs share most sections of their resolved configs, so each
section is stored once, by its digest. ``scores.csv.xz`` has a row for each image of each test, as
``pandas.read_csv`` reads it. Runs of a study may end at the same time: a lock lets one write.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..errors import UserError
from ..files import replacing
from .image_scores import SCORES, ImageScores
from .provenance import digest_of
from .study import Run

RUNS = "runs.json"
IMAGE_SCORES = "scores.csv.xz"
_COLUMNS = ("model", "seed", "test", "image")


def lock_study(folder: Path) -> FileLock:
    """The lock to hold from reading a study's files to writing them."""
    return FileLock(folder / ".lock")


def read_runs(folder: Path) -> dict[str, dict[str, Any]]:
    """Records of a study, if any, by the run's name; ``settings`` is its resolved config.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / RUNS
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sections = content["sections"]
        return {
            name: {**left, "settings": {k: sections[d] for k, d in left["settings"].items()}}
            for name, left in content["runs"].items()
        }
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); restore it, or remove it") from error


def write_runs(folder: Path, runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace ``runs.json``; the caller holds :func:`lock_study`."""
    sections: dict[str, Any] = {}
    packed = {}
    for name in sorted(runs):
        settings = {key: digest_of(value) for key, value in runs[name]["settings"].items()}
        sections.update((settings[key], value) for key, value in runs[name]["settings"].items())
        packed[name] = {**runs[name], "settings": settings}
    content = {"runs": packed, "sections": dict(sorted(sections.items()))}
    with replacing(folder / RUNS, sync=True) as part:
        part.write_text(f"{_dump(content, 3)}\n", encoding="utf-8")


def _dump(content: Any, levels: int) -> str:
    """JSON with a line for each entry of the outer levels."""
    if not levels or not isinstance(content, Mapping) or not content:
        return json.dumps(content)
    lines = (f"{json.dumps(key)}: {_dump(value, levels - 1)}" for key, value in content.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def read_image_scores(folder: Path) -> dict[tuple[str, int, str], ImageScores]:
    """Scores of each image of a study, if any, by model, seed and test.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / IMAGE_SCORES
    found: dict[tuple[str, int, str], ImageScores] = {}
    if not path.is_file():
        return found
    try:
        with lzma.open(path, "rt", newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = [name for name in reader.fieldnames or () if name not in _COLUMNS]
            for row in reader:
                key = (row["model"], int(row["seed"]), row["test"])
                test = found.setdefault(key, {column: {} for column in columns})
                for column in columns:
                    test[column][row["image"]] = float(row[column])
    except (EOFError, lzma.LZMAError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); restore it, or remove it") from error
    return found


def _write_image_scores(folder: Path, scores: Mapping[tuple[str, int, str], ImageScores]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = list(next(iter(scores.values())))
    writer.writerow([*_COLUMNS, *columns])
    for key in sorted(scores):
        for image in sorted(scores[key][columns[0]]):
            values = (_digits(column, scores[key][column][image]) for column in columns)
            writer.writerow([*key, image, *values])
    with replacing(folder / IMAGE_SCORES, sync=True) as part:
        part.write_bytes(lzma.compress(text.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME))


def _digits(column: str, value: float) -> str:
    return f"{value:.2f}" if column in SCORES else f"{value:.0f}"


def write_run(
    folder: Path, run: Run, left: Mapping[str, Any], scores: Mapping[str, ImageScores]
) -> None:
    """Put a run's record (see :func:`read_runs`) and scores into the files, in place of older ones.

    Raises:
        UserError: One of the files is damaged, or has scores of other classes.
    """
    with lock_study(folder):
        runs = read_runs(folder)
        others = {
            key: test
            for key, test in read_image_scores(folder).items()
            if key[:2] != (run.model.name, run.seed)
        }
        new = {(run.model.name, run.seed, name): test for name, test in scores.items()}
        if len({tuple(test) for test in [*others.values(), *new.values()]}) > 1:
            raise UserError(
                f"tests of {run.name} have other classes than {folder / IMAGE_SCORES}; give data "
                "sets of other classes a study of their own"
            )
        if runs.pop(run.name, None):
            write_runs(folder, runs)  # a stop after this leaves no record with other scores
        _write_image_scores(folder, {**others, **new})
        write_runs(folder, {**runs, run.name: left})
