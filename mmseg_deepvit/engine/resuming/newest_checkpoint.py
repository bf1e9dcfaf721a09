"""Find the newest undamaged checkpoint of an interrupted run."""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePath

from mmengine.logging import print_log

from ...checkpoints import read_checkpoint
from ...checkpoints.sharded import REST, check_sharded, is_sharded
from ...errors import CheckpointError
from .work_dirs import numbered_checkpoints, restore_replaced

#: File in a work dir that holds the path of the last checkpoint.
POINTER = "last_checkpoint"
#: Parts that training needs; the best checkpoint, kept for testing, has no optimiser.
_NEEDED = {"state_dict", "optimizer", "meta"}


def find_whole_checkpoint(
    work_dir: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None
) -> str | None:
    """The newest checkpoint of a run that can be read to its end.

    ``last_checkpoint`` holds a full path, for mmengine. Only the name in it counts here, because
    the work dir may be a copy.

    Args:
        work_dir: Path of the run's folder, with ``last_checkpoint``.
        folder: Path of the folder of checkpoints; None for ``work_dir``.

    Returns:
        Path of the checkpoint, or None if nothing was saved yet. Warnings name newer, damaged
        files, which stay.

    Raises:
        CheckpointError: All checkpoints are damaged, or ``last_checkpoint`` cannot be replaced.
    """
    damaged = []
    folder = Path(work_dir if folder is None else folder)
    restore_replaced(folder)
    for path in _candidates(Path(work_dir), folder):
        try:
            _check(path)
        except CheckpointError as error:
            damaged.append(path)
            print_log(f"{error}", "current", logging.WARNING)
            continue
        if damaged:
            print_log(f"going on from {path}, the newest undamaged one", "current", logging.WARNING)
        return str(path)
    if damaged:
        raise CheckpointError(
            f"none of the {len(damaged)} checkpoints in {folder} can be read; start again without "
            "--resume, in another --work-dir"
        )
    return None


def _candidates(work_dir: Path, folder: Path) -> list[Path]:
    """The last checkpoint, then all others from the newest on, each once."""
    newest = numbered_checkpoints(folder)
    pointer = work_dir / POINTER
    if pointer.is_dir():
        raise CheckpointError(f"{pointer} is a folder, in the place of a file; remove it")
    if not pointer.is_file():
        return newest
    with pointer.open("rb") as file:
        name = PurePath(os.fsdecode(file.read(10_000)).strip()).name
    there = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    if name not in there:
        what = "is empty" if not name else "names no checkpoint there"
        print_log(f"{pointer} {what}: looking for the newest", "current", logging.WARNING)
        return newest
    return list(dict.fromkeys([there[name], *newest]))


def _check(path: Path) -> None:
    if is_sharded(path):
        content = read_checkpoint(path / REST)
        check_sharded(content)
    elif path.is_dir():  # other strategies'
        if not any(part.is_file() for part in path.rglob("*")):
            raise CheckpointError(f"checkpoint {path} is an empty folder; take an earlier one")
        return
    else:
        content = read_checkpoint(path)
    if missing := _NEEDED - content.keys():
        raise CheckpointError(
            f"checkpoint {path} holds no {', '.join(sorted(missing))}, with which training goes "
            "on; take an earlier one"
        )
