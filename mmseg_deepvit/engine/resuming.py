"""Where an interrupted run goes on."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from mmengine.logging import print_log

from ..checkpoints import read_checkpoint
from ..checkpoints.sharded import REST, check_sharded, is_sharded
from ..errors import CheckpointError

#: What training needs to go on; the best checkpoint, kept for testing, has no optimiser.
_NEEDED = {"state_dict", "optimizer", "meta"}


def find_whole_checkpoint(work_dir: str | Path) -> str | None:
    """The newest checkpoint of a run that can be read to its end.

    Args:
        work_dir: Of the run.

    Returns:
        Its path, or None if nothing was saved yet. Damaged files that are newer are named in
        warnings and left where they are.

    Raises:
        CheckpointError: Files were saved, and none of them is whole.
    """
    damaged = []
    for path in _candidates(Path(work_dir)):
        try:
            _check(path)
        except CheckpointError as error:
            damaged.append(path)
            print_log(f"{error}", "current", logging.WARNING)
            continue
        if damaged:
            print_log(f"going on from {path}, the newest that is whole", "current", logging.WARNING)
        return str(path)
    if damaged:
        raise CheckpointError(
            f"none of the {len(damaged)} checkpoints in {work_dir} is whole: start again without "
            "--resume, in another --work-dir"
        )
    return None


def _candidates(work_dir: Path) -> list[Path]:
    """The one that was saved last, then all others from the newest on, each once."""
    pointer = work_dir / "last_checkpoint"
    last = pointer.read_text().strip() if pointer.is_file() else ""
    steps = {}
    for path in work_dir.glob("*.pth"):
        if match := re.fullmatch(r"(?:iter|epoch)_(\d+)", path.stem):
            steps[path] = int(match[1])
    newest = sorted(steps, key=lambda path: steps[path], reverse=True)
    first = [Path(last)] if last and Path(last).exists() else []
    return list(dict.fromkeys([*first, *newest]))


def _check(path: Path) -> None:
    if is_sharded(path):
        check_sharded(path)
        content = read_checkpoint(path / REST)
    elif path.is_dir():  # other strategies'
        return
    else:
        content = read_checkpoint(path)
    if missing := _NEEDED - content.keys():
        raise CheckpointError(
            f"checkpoint {path} holds no {', '.join(sorted(missing))}: training cannot go on there"
        )
