"""Folders that several processes write together, whole or not there."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from mmengine.dist import all_gather_object, get_rank, is_main_process
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from ...checkpoints.sharded import CHECKSUMS, METADATA, REST, checksum, take_out
from ...errors import UserError
from ...files import part_of, sync_folder
from ..first_process import from_first_process
from ..resuming.work_dirs import OLD, remove
from ..saving.atomic_files import write_atomically

_T = TypeVar("_T")


def save_sharded(content: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Save a checkpoint, each process its part of every tensor that they share; all call it.

    The folder is written under another name, synced and renamed.

    Args:
        content: What a checkpoint holds; what is not shared is taken from the first process.
        path: The folder to make or replace.

    Raises:
        UserError: It cannot be written, in all processes; what was there still is.
    """
    path = Path(path)
    rest, tensors = take_out(content, lambda tensor: isinstance(tensor, DTensor))
    part = Path(_at_first(path, lambda: _begin(path)))
    try:
        checksums = _write(tensors, part)
    except (Exception, CheckpointException) as error:  # the same one in all processes
        if is_main_process():
            shutil.rmtree(part, ignore_errors=True)
        raise _unwritten(path, error) from error
    _at_first(path, lambda: _complete({**rest, CHECKSUMS: checksums}, part, path))


def _begin(path: Path) -> str:
    """Make the folder that all processes write to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    part.mkdir()
    return str(part)


def _write(tensors: dict[str, Tensor], part: Path) -> dict[str, int]:
    """Write tensors; returns the checksums of all files, each from the process that wrote it."""
    save(tensors, storage_writer=FileSystemWriter(part, sync_files=True))
    ours: dict[str, int] | OSError
    try:
        files = [*part.glob(f"__{get_rank()}_*"), *[part / METADATA] * is_main_process()]
        ours = {path.name: checksum(path) for path in files}
    except OSError as error:
        ours = error
    checksums: dict[str, int] = {}
    for one in all_gather_object(ours):
        if isinstance(one, OSError):
            raise one
        checksums |= one
    return checksums


def save_whole(content: dict[str, Any], path: str | os.PathLike[str]) -> None:
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


def _at_first(path: Path, function: Callable[[], _T]) -> _T:
    """Have the first process do something, and all of them fail if it does."""

    def checked() -> _T:
        try:
            return function()
        except OSError as error:
            raise _unwritten(path, error) from error

    return from_first_process(checked)


def _complete(rest: Any, part: Path, path: Path) -> None:
    """Write what is not shared, and give the folder its name."""
    file = io.BytesIO()
    torch.save(rest, file)
    write_atomically(part / REST, file.getvalue())
    sync_folder(part)
    old = path.with_name(path.name + OLD)
    remove(old)
    if path.exists():
        path.rename(old)  # a kill from here on is undone by restore_replaced
    part.rename(path)
    sync_folder(path.parent)
    remove(old)


def _unwritten(path: Path, error: BaseException) -> UserError:
    causes = list(getattr(error, "failures", {}).values())
    cause = causes[0][0] if causes else error
    said = getattr(cause, "strerror", None) or " ".join(str(cause).split())[:200]
    return UserError(
        f"{path} cannot be written ({said}): make room or choose another --work-dir; earlier "
        "checkpoints are as they were, and --resume goes on from them"
    )
