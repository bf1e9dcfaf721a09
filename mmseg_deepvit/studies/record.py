"""Record a finished run.

A record in ``runs.json`` has model, command, seed, digests of the settings, commits, versions,
hardware, iterations, time, scores, collapse, curves of losses and the resolved config. Curves are
columns as ``pandas.DataFrame`` takes them. Scores of each image go to ``scores.csv.xz``. The run
that the study names as ``cases`` leaves ``cases.jpg``.
"""

from __future__ import annotations

import platform
import shlex
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..analysis.collapse import measure_collapse
from ..analysis.collapse_report import headline
from ..analysis.models import choose_images, config_subject
from ..analysis.training_log import TrainingLog, read_log
from ..command_line import load_config
from ..command_line.benchmark import describe_machine
from ..errors import UserError
from ..inference import load_segmentor
from ..version import __version__
from .cases import draw_cases
from .image_scores import read_scores
from .provenance import TRAINING, changed_settings, run_digests, stale_parts, study_digests
from .study import Run, Study
from .study_files import lock_study, read_runs, write_run, write_runs

#: The picture of a study's cases.
CASES = "cases.jpg"
#: Images of the test set, evenly spaced, that collapse is measured on.
NUM_COLLAPSE_IMAGES = 16
#: Approximate number of points that are kept of the curves.
NUM_POINTS = 40
_PACKAGES = ("torch", "timm", "opencv-python", "numpy")
_STACKS = ("mmengine", "mmcv", "mmsegmentation")


def find_records(study: Study) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Read a study's records, and compare them with the study's settings now.

    Returns:
        Records by run, without runs and tests of other settings; and, by recorded run, the parts
        that have other settings.

    Raises:
        UserError: ``runs.json`` is damaged, or a config cannot be read.
    """
    recorded = read_runs(study.folder)
    digests = study_digests(study)
    records, stale = {}, {}
    for run in study.runs:
        if (left := recorded.get(run.name)) is None:
            continue
        if parts := stale_parts(left, digests[run.name]):
            stale[run.name] = [TRAINING] if TRAINING in parts else parts
        if TRAINING not in parts:
            known = {t: s for t, s in left["scores"].items() if f"test {t}" not in parts}
            records[run.name] = {**left, "scores": known}
    return records, stale


def accept_record(study: Study, run: Run, reason: str) -> list[str]:
    """Accept a record that was made with other settings, for a reason that the record keeps.

    Returns:
        The settings that differ.
    """
    digests = run_digests(run)
    with lock_study(study.folder):
        runs = read_runs(study.folder)
        left = runs[run.name]
        changed = changed_settings(left["settings"], run)
        parts = {part: digests[part] for part in stale_parts(left, digests)}
        accepted = {"reason": reason, "changed": changed, "digests": parts}
        left["accepted"] = [*left.get("accepted", []), accepted]
        write_runs(study.folder, runs)
    return changed


def record_run(
    study: Study,
    run: Run,
    work_dir: Path,
    checkpoint: str,
    scores: Mapping[str, dict[str, float]],
    images: Mapping[str, Path],
    digests: Mapping[str, str],
    commits: Sequence[str],
) -> None:
    """Record a run; an older record of it is replaced.

    Args:
        study: Study whose folder gets the record.
        run: Run of the study.
        work_dir: Folder of the training.
        checkpoint: Last checkpoint of the training.
        scores: Scores of each test, by the test's name.
        images: CSV files of each test's images, by the test's name.
        digests: Digests of the settings of training and tests.
        commits: Commits of the code.

    Raises:
        UserError: Checkpoint, images or scores cannot be read, the study's files are damaged, or
            the settings have changed.
    """
    if run_digests(run) != digests:
        raise UserError(
            f"settings of {run.name} were changed while it ran: set them back and run it again"
        )
    image_scores = {name: read_scores(path) for name, path in images.items()}
    cfg = load_config(run.model.config, run.options)
    log = read_log(str(work_dir))
    keys = [key for key in log.training if key.rpartition(".")[2].startswith("loss")]
    model = load_segmentor(cfg, checkpoint, "cuda:0" if torch.cuda.is_available() else "cpu")
    if run.name == study.cases:
        first = image_scores[next(iter(run.model.tests))]
        draw_cases(study.folder / CASES, model, cfg, first["Dice"])
    subject = config_subject(cfg, model.backbone)
    batch = subject.prepare(choose_images([], subject, NUM_COLLAPSE_IMAGES), None)
    collapse = measure_collapse(model.backbone, batch, with_cka=False)
    left = {
        "model": run.model.name,
        "labels": dict(run.model.labels),
        "seed": run.seed,
        "config": run.model.config,
        "train": shlex.join(["python", "tools/train.py", run.model.config, *run.train_words]),
        # Words that tools/test.py takes besides config, checkpoint and the options of the training.
        "test": {name: list(words) for name, words in run.model.tests.items()},
        "digests": dict(digests),
        "commits": list(commits),
        # The log may end before the training: it has every fiftieth iteration.
        "iterations": cfg.train_cfg.get("max_iters") or max(log.curve("loss"))[0],
        "final_losses": {key: statistics.fmean(v for _, v in log.curve(key)[-3:]) for key in keys},
        "seconds_an_iteration": statistics.median(v for _, v in log.curve("time")),
        "scores": scores,
        "collapse": headline(collapse),
        "machine": describe_machine(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "versions": _versions(),
        "curves": _thinned(log, keys),
    }
    write_run(study.folder, run, {**_rounded(left), "settings": cfg.to_dict()}, image_scores)


def _thinned(log: TrainingLog, keys: Sequence[str]) -> dict[str, list[float | None]]:
    """Curves at evenly spaced iterations, the last one included; None where a key has no value."""
    curves = {key: dict(log.curve(key)) for key in keys}
    logged = sorted(set().union(*curves.values()))
    step = -(-len(logged) // NUM_POINTS) or 1
    kept = logged[::-1][::step][::-1]
    return {"iteration": [*kept], **{k: [c.get(at) for at in kept] for k, c in curves.items()}}


def _versions() -> dict[str, str]:
    found = {"mmseg_deepvit": __version__, "python": platform.python_version()}
    for name in (*_PACKAGES, *_STACKS, *(f"onedl-{name}" for name in _STACKS)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # one of the two stacks is installed
            continue
    return found


def _rounded(value: Any) -> Any:
    """Floats with five digits: more is noise, and git keeps the files."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
