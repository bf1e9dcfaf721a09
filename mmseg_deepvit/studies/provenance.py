"""Provenance of a run: digests of its settings, and the commits of the code.

A digest covers the settings that decide a result. For the weights they are all that training reads
of the resolved config, and further arguments of ``tools/train.py``. For the scores of a test they
are the model, the data, the metrics and the arguments of ``tools/test.py``. Logs, pictures, checks,
the choice of checkpoints that are kept, folders and validation decide nothing.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..command_line import load_config
from ..command_line.config_options import known_keys, merge_options
from ..errors import UserError
from ..files import replacing
from .study import Run, Study

#: Name of the weights' digest; a test's is ``test`` and its name.
TRAINING = "training"
#: File in the folder of the checkpoints that says which settings trained them.
_STARTED = "training.json"
_UNKNOWN = "unknown"

_OF_TESTS = {"model", "test_cfg", "test_dataloader", "test_evaluator", "tta_model", "tta_pipeline"}
_DECIDES_NOTHING = {
    *("cfg", "experiment_name", "gpu_ids", "launcher", "log_level", "log_processor", "resume"),
    *("val_cfg", "val_dataloader", "val_evaluator", "visualizer", "work_dir"),
    *("default_scope", "test_pipeline"),
}
#: This import decides nothing: the tools always load safely.
_SAFE_LOADING = "mmseg_deepvit.safe_loading.installed"
#: Ends of the names of hooks that look, log, draw or save, and do not change weights.
_ONLOOKERS = tuple(
    f"{kind}Hook"
    for kind in ("Check", "Checkpoint", "Collapse", "Logger", "Timer", "Visualization")
)


def settings_digests(
    config: Mapping[str, Any], train: Sequence[str], tests: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Digests of a run's settings.

    Args:
        config: Resolved config, as a dict or as JSON has it.
        train: Further arguments of ``tools/train.py``.
        tests: Arguments of ``tools/test.py`` by the test's name.

    Returns:
        Digests by ``'training'`` and ``'test NAME'``.
    """
    content = {key: value for key, value in config.items() if key in known_keys()}
    training = {k: v for k, v in content.items() if k not in (_OF_TESTS | _DECIDES_NOTHING)}
    training["model"] = content.get("model")
    if not (training.get("auto_scale_lr") or {}).get("enable"):
        training.pop("auto_scale_lr", None)  # the batch that a rate is for decides nothing then
    imports = content.get("custom_imports") or {}
    if isinstance(names := imports.get("imports"), list):
        names = [name for name in names if name != _SAFE_LOADING]
        training["custom_imports"] = {**imports, "imports": names}
    default, custom = (content.get(key) for key in ("default_hooks", "custom_hooks"))
    training["default_hooks"] = {k: v for k, v in (default or {}).items() if _acts(v)}
    training["custom_hooks"] = [hook for hook in custom or [] if _acts(hook)]
    testing = {k: v for k, v in content.items() if k in _OF_TESTS}
    return {
        TRAINING: digest_of([training, list(train)]),
        **{f"test {name}": digest_of([testing, list(words)]) for name, words in tests.items()},
    }


def _acts(hook: Any) -> bool:
    return not (isinstance(hook, Mapping) and str(hook.get("type")).endswith(_ONLOOKERS))


def digest_of(content: Any) -> str:
    """16 hexadecimal digits that identify plain content."""
    text = json.dumps(_plain(content), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(content: Any) -> Any:
    """The content as JSON has it, so that settings now and recorded ones compare."""
    return json.loads(json.dumps(content, default=str))


def run_digests(run: Run, config: Config | None = None) -> dict[str, str]:
    """Digests of a run's settings now; ``config`` is its model's, without options, if it is read.

    Raises:
        UserError: The config cannot be read.
    """
    return settings_digests(_resolve(run, config).to_dict(), run.model.train, run.model.tests)


def _resolve(run: Run, config: Config | None = None) -> Config:
    cfg = load_config(run.model.config) if config is None else deepcopy(config)
    merge_options(cfg, run.options)
    return cfg


def stale_parts(record: Mapping[str, Any], digests: Mapping[str, str]) -> list[str]:
    """The parts whose digests a record has neither recorded nor accepted."""
    accepted = [one["digests"] for one in record.get("accepted", [])]
    known = [record.get("digests", {}), *accepted]
    return [part for part, d in digests.items() if all(one.get(part) != d for one in known)]


def changed_settings(recorded: Mapping[str, Any], run: Run) -> list[str]:
    """Keys of a recorded config that have other values now, with both values."""
    now = _plain(_resolve(run).to_dict())
    old, new = (dict(_leaves({k: c[k] for k in c if k in known_keys()})) for c in (recorded, now))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [f"{key}: {old.get(key, 'nothing')}, now {new.get(key, 'nothing')}" for key in keys]


def _leaves(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    items = content.items() if isinstance(content, Mapping) else enumerate(content)
    for name, value in items:
        below = f"{key}.{name}" if key else str(name)
        if isinstance(value, (Mapping, list)) and value:
            yield from _leaves(value, below)
        else:
            yield below, json.dumps(value)


def study_digests(study: Study) -> dict[str, dict[str, str]]:
    """Digests of all runs of a study, by their names.

    Raises:
        UserError: A config cannot be read, or two runs would train the same weights.
    """
    configs = {path: load_config(path) for path in {m.config for m in study.models.values()}}
    digests = {run.name: run_digests(run, configs[run.model.config]) for run in study.runs}
    names: dict[str, str] = {}
    for name, parts in digests.items():
        if (other := names.setdefault(parts[TRAINING], name)) != name:
            raise UserError(
                f"{other} and {name} train with the same settings: change an option of one (its "
                "config may have that value already), or give one model the tests of both"
            )
    return digests


def check_training(work_dir: Path, digest: str) -> list[str]:
    """Check that a training may go on, or begin, in a folder.

    Returns:
        Commits of the code that trained there.

    Raises:
        UserError: The folder holds checkpoints of other or unknown settings.
    """
    path = work_dir / _STARTED
    started = json.loads(path.read_text()) if path.is_file() else {}
    if started.get("digest") == digest:
        return list(started["commits"])
    if any(work_dir.glob("*.pth")) or (work_dir / "last_checkpoint").exists():
        raise UserError(
            f"{work_dir} holds checkpoints that were trained with other settings than the study "
            "has now: move the folder away, or give another --work-dir"
        )
    return []


def note_training(work_dir: Path, digest: str) -> list[str]:
    """Write the settings of a training into its folder before it begins.

    Returns:
        Commits of the code that trained there, the present one last; see :func:`check_training`.
    """
    commits = list(dict.fromkeys([*check_training(work_dir, digest), current_commit()]))
    work_dir.mkdir(parents=True, exist_ok=True)
    with replacing(work_dir / _STARTED, sync=True) as part:
        part.write_text(json.dumps({"digest": digest, "commits": commits}) + "\n")
    return commits


def current_commit() -> str:
    """The commit of this code, with ``-dirty`` where files differ; ``unknown`` outside git."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return _UNKNOWN  # installed, within a checkout of something else
        changed = git("status", "--porcelain", "--", "mmseg_deepvit", "configs", "tools")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return _UNKNOWN
