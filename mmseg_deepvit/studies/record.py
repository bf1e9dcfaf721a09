"""What a finished run leaves: one small folder with all that its figures must be read with.

``run.json`` (model, command, seed, digests of the settings, commits, versions, hardware,
iterations, time, scores, collapse), ``config.json`` (whole), ``scalars.json`` (the log, as
tools/plot_log.py reads it), ``curve.png``, ``TEST.csv`` (scores of each image), ``collapse.json``
(measures of each block), ``cases.jpg``.
"""

from __future__ import annotations

import json
import platform
import shlex
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from PIL import Image

from ..analysis.collapse import Collapse, measure_collapse
from ..analysis.collapse_report import headline
from ..analysis.curve_pictures import choose_panels, plot_runs
from ..analysis.models import config_subject, load_images
from ..analysis.training_log import TrainingLog, draw_curves, read_lines
from ..benchmark import describe_machine
from ..cli import load_config
from ..errors import UserError
from ..inference import load_segmentor
from ..version import __version__
from .cases import draw_cases
from .provenance import TRAINING, changed_settings, run_digests, stale_parts, study_digests
from .study import Run, Study

#: The file that is written last: a folder with it is whole.
SUMMARY = "run.json"
#: Images of the test set, evenly spaced, that collapse is measured on.
NUM_COLLAPSE_IMAGES = 16
_PACKAGES = ("torch", "timm", "opencv-python", "numpy")
_STACKS = ("mmengine", "mmcv", "mmsegmentation")


def find_records(study: Study) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """What a study's runs left, checked against what the study says now.

    Returns:
        Contents of ``run.json`` by run, without tests of other settings and without runs that were
        trained with others; and, of runs that are recorded, which parts are of other settings.
    """
    digests = study_digests(study)
    records, stale = {}, {}
    for run in study.runs:
        summary = study.folder / run.name / SUMMARY
        if not summary.is_file():
            continue
        left = json.loads(summary.read_text())
        if parts := stale_parts(left, digests[run.name]):
            stale[run.name] = [TRAINING] if TRAINING in parts else parts
        if TRAINING not in parts:
            known = {t: s for t, s in left["scores"].items() if f"test {t}" not in parts}
            records[run.name] = {**left, "scores": known}
    return records, stale


def accept_record(run: Run, folder: Path, reason: str) -> list[str]:
    """Let a record stand for settings that are not those it was made with.

    Args:
        run: Which one; it is recorded.
        folder: Where.
        reason: Why its scores hold nevertheless; kept in ``run.json`` with what differs.

    Returns:
        The settings that differ.
    """
    left = json.loads((folder / SUMMARY).read_text())
    digests = run_digests(run)
    changed = changed_settings(json.loads((folder / "config.json").read_text()), run)
    parts = {part: digests[part] for part in stale_parts(left, digests)}
    accepted = {"reason": reason, "changed": changed, "digests": parts}
    left["accepted"] = [*left.get("accepted", []), accepted]
    _write_summary(folder, left)
    return changed


def record_run(
    run: Run,
    folder: Path,
    work_dir: Path,
    checkpoint: str,
    scores: Mapping[str, dict[str, float]],
    digests: Mapping[str, str],
    commits: Sequence[str],
) -> None:
    """Write a run's folder.

    Args:
        run: Which one.
        folder: Made if it is missing; a file of scores, ``TEST.csv``, is in it for each test.
        work_dir: Where it was trained.
        checkpoint: What training left.
        scores: What each test found, by the test's name.
        digests: Of the settings that it was trained and tested with.
        commits: Of the code that did it.

    Raises:
        UserError: The checkpoint or the images cannot be read, or the settings have changed since.
    """
    if run_digests(run) != digests:
        raise UserError(
            f"settings of {run.name} were changed while it ran: set them back and run it again"
        )
    folder.mkdir(parents=True, exist_ok=True)
    cfg = load_config(run.model.config, run.options)
    (folder / "config.json").write_text(json.dumps(cfg.to_dict(), indent=1) + "\n")
    lines, notes = read_lines(str(work_dir))
    text = "".join(f"{json.dumps(line.content)}\n" for line in lines)
    (folder / "scalars.json").write_text(text)
    log = draw_curves(lines, notes)
    keys = [key for key in log.training if key.rpartition(".")[2].startswith("loss")]
    _draw_curve(folder / "curve.png", run.name, log)
    model = load_segmentor(cfg, checkpoint, "cuda:0" if torch.cuda.is_available() else "cpu")
    first = next(iter(run.model.tests))
    draw_cases(folder / "cases.jpg", model, cfg, folder / f"{first}.csv")
    collapse = _measure(cfg, model.backbone)
    (folder / "collapse.json").write_text(json.dumps(_rounded(collapse.to_json())) + "\n")
    summary = {
        "model": run.model.name,
        "labels": dict(run.model.labels),
        "seed": run.seed,
        "config": run.model.config,
        "train": _command("train.py", run.model.config, run.train_words),
        "test": {
            name: _command("test.py", f"{run.model.config} CHECKPOINT", [*words, *run.option_words])
            for name, words in run.model.tests.items()
        },
        "digests": dict(digests),
        "commits": list(commits),
        "iterations": max(log.curve("loss"))[0],
        "final_losses": {key: statistics.fmean(v for _, v in log.curve(key)[-3:]) for key in keys},
        "seconds_an_iteration": statistics.median(v for _, v in log.curve("time")),
        "scores": scores,
        "collapse": headline(collapse),
        "machine": describe_machine(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "versions": _versions(),
    }
    _write_summary(folder, _rounded(summary))


def _write_summary(folder: Path, content: Mapping[str, Any]) -> None:
    partial = folder / f".{SUMMARY}.partial"
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(folder / SUMMARY)


def _measure(cfg: Config, backbone: torch.nn.Module) -> Collapse:
    subject = config_subject(cfg, backbone)
    images = load_images([], subject, NUM_COLLAPSE_IMAGES)
    return measure_collapse(backbone, subject.prepare(images, None), with_cka=False)


def _draw_curve(path: Path, name: str, log: TrainingLog) -> None:
    """The loss, in the few colours that it needs: such pictures are many, and kept in git."""
    plot_runs(str(path), {name: log}, choose_panels([log], ["loss"]), 0.8)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(16)
    small.save(path, optimize=True)


def _command(tool: str, subject: str, words: list[str]) -> str:
    return f"python tools/{tool} {subject} {shlex.join(map(str, words))}"


def _versions() -> dict[str, str]:
    found = {"mmseg_deepvit": __version__, "python": platform.python_version()}
    for name in (*_PACKAGES, *_STACKS, *(f"onedl-{name}" for name in _STACKS)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # of the two stacks only one is there
            continue
    return found


def _rounded(value: Any) -> Any:
    """Floats with five digits: more is noise, and the files are kept in git."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
