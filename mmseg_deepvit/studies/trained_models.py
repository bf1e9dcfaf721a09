"""The table of all models that studies trained: scores, time, machine and the command for each."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..tables import markdown_table
from .study import Model, Study
from .table import Row, interval_cell, read_rows

_HEADER = ("model", "config", "begun at", "seeds", "Dice or mIoU", "a training", "on", "study")


def trained_models(studies: Iterable[tuple[Study, Mapping[str, dict[str, Any]]]]) -> str:
    """A markdown table with a row for each model that has a recorded run.

    It shows the first two tests of a study; the study's page has the others. Links are relative to
    a folder beside ``results/``.

    Args:
        studies: Studies, each with the records of its runs (see
            :func:`~mmseg_deepvit.studies.find_records`), at least one.

    Raises:
        UserError: Scores of a study cannot be read.
    """
    lines: list[list[object]] = []
    for study, records in studies:
        rows = read_rows(study, records)
        for model in study.models.values():
            runs = [left for left in records.values() if left["model"] == model.name]
            own = [row for (name, _), row in rows.items() if name == model.name]
            if own:
                lines.append(_line(study, model, own, runs))
    return markdown_table(_HEADER, lines)


def _line(
    study: Study, model: Model, rows: list[Row], runs: Sequence[Mapping[str, Any]]
) -> list[object]:
    config, folder = Path(model.config), study.folder.name
    init = runs[0]["settings"]["model"]["backbone"].get("init_cfg") or {}
    hours = statistics.mean(left["iterations"] * left["seconds_an_iteration"] for left in runs)
    machine = runs[0]["machine"]
    return [
        ", ".join(map(str, model.labels.values())),
        f"[{config.stem}]({config.name})",
        Path(init["checkpoint"]).name if "checkpoint" in init else "random weights",
        len(runs),
        "; ".join(f"{row.test} {interval_cell(row.interval())}" for row in rows[:2]),
        f"{runs[0]['iterations']} iterations, {hours / 3600:.1f} h",
        machine.get("gpu", f"{machine['processor']}, threads: {machine['threads']}"),
        f"[{folder}](../results/{folder}/README.md)",
    ]
