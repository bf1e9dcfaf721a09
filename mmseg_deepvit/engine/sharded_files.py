"""Folders that several processes write together, whole or not there."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from mmengine.dist import is_main_process
from torch.distributed.tensor import DTensor

from ..checkpoints.sharded import REST, take_out
from ..errors import UserError
from .atomic_files import PART, sync_folder, write_atomically
from .launching import from_first_process


def save_sharded(content: dict[str, Any], path: str | os.PathLike) -> None:
    """Save a checkpoint, each process its part of every tensor that they share; all call it.

    The folder is written beside, synced and renamed.

    Args:
        content: What a checkpoint holds; what is no shared tensor is taken from the first process.
        path: The folder to make or replace.

    Raises:
        UserError: It cannot be written, in all processes; what was there still is.
    """
    path = Path(path)
    part = path.with_name(path.name + PART)
    rest, tensors = take_out(content, lambda tensor: isinstance(tensor, DTensor))
    _at_first(path, lambda: _clear(part))
    try:
        dcp.save(tensors, storage_writer=dcp.FileSystemWriter(part, sync_files=True))
    except (Exception, dcp.api.CheckpointException) as error:  # the same one in all processes
        if is_main_process():
            shutil.rmtree(part, ignore_errors=True)
        raise _unwritten(path, error) from error
    _at_first(path, lambda: _complete(rest, part, path))


def save_whole(content: dict[str, Any], path: str | os.PathLike) -> None:
    """Save one file as one process would; all call it.

    Args:
        content: As in :func:`save_sharded`.
        path: The file to make or replace.

    Raises:
        UserError: It cannot be written, in all processes.
    """

    def gather(tree: Any) -> Any:
        if isinstance(tree, DTensor):
            whole = tree.full_tensor()
            return whole.cpu() if is_main_process() else None
        if isinstance(tree, dict):
            return {k: gather(v) for k, v in tree.items()}
        return [gather(v) for v in tree] if type(tree) is list else tree

    whole = gather(content)

    def write() -> None:
        file = io.BytesIO()
        torch.save(whole, file)
        write_atomically(path, file.getvalue())

    _at_first(Path(path), write)


def _at_first(path: Path, function: Callable[[], None]) -> None:
    """Have the first process do something, and all of them fail if it does."""

    def checked() -> None:
        try:
            function()
        except OSError as error:
            raise _unwritten(path, error) from error

    from_first_process(checked)


def _clear(part: Path) -> None:
    """Make room for a new part; a run that was killed may have left one."""
    part.parent.mkdir(parents=True, exist_ok=True)
    if part.exists():
        shutil.rmtree(part)


def _complete(rest: Any, part: Path, path: Path) -> None:
    """Write what is not shared, and give the folder its name."""
    file = io.BytesIO()
    torch.save(rest, file)
    write_atomically(part / REST, file.getvalue())
    sync_folder(part)
    old = path.with_name(path.name + ".old")
    _remove(old)
    if path.exists():
        path.rename(old)
    part.rename(path)
    sync_folder(path.parent)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unwritten(path: Path, error: BaseException) -> UserError:
    causes = list(getattr(error, "failures", {}).values())
    cause = causes[0][0] if causes else error
    said = getattr(cause, "strerror", None) or " ".join(str(cause).split())[:200]
    return UserError(
        f"{path} cannot be written ({said}): make room or choose another --work-dir; earlier "
        "checkpoints are as they were, and --resume goes on from them"
    )
