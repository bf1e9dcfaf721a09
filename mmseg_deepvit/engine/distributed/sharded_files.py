"""Write folders of several processes so that they are complete or not there."""

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
from ...files import part_of, sync_folder
from ..first_process import from_first_process
from ..resuming.work_dirs import OLD, remove
from ..saving.atomic_files import cannot_write, write_atomically

_T = TypeVar("_T")


def save_sharded(content: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Save a checkpoint, each process its part of every shared tensor; all processes call it.

    The folder is written under another name, synced and renamed.

    Args:
        content: Content of the checkpoint; the first process gives all that is not shared.
        path: Path of the folder to make or replace.

    Raises:
        UserError: The folder cannot be written, in all processes; an earlier one stays.
    """
    path = Path(path)
    rest, tensors = take_out(content, lambda tensor: isinstance(tensor, DTensor))
    part = Path(_at_first(path, lambda: _begin(path)))
    try:
        checksums = _write(tensors, part)
    except (Exception, CheckpointException) as error:  # the same one in all processes
        if is_main_process():
            shutil.rmtree(part, ignore_errors=True)
        raise cannot_write(path, error) from error
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
    """Save one file as one process would; all processes call it.

    Args:
        content: Content of the checkpoint, as in :func:`save_sharded`.
        path: Path of the file to make or replace.

    Raises:
        UserError: The file cannot be written, in all processes.
    """

    def gather(tree: Any) -> Any:
        if isinstance(tree, DTensor):
            full = tree.full_tensor()
            return full.cpu() if is_main_process() else None
        if isinstance(tree, dict):
            return {k: gather(v) for k, v in tree.items()}
        return [gather(v) for v in tree] if type(tree) is list else tree

    gathered = gather(content)
    _at_first(Path(path), lambda: write_atomically(path, _serialized(gathered)))


def _serialized(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _at_first(path: Path, function: Callable[[], _T]) -> _T:
    """Call a function in the first process; an OSError becomes a UserError in all of them."""

    def checked() -> _T:
        try:
            return function()
        except OSError as error:
            raise cannot_write(path, error) from error

    return from_first_process(checked)


def _complete(rest: Any, part: Path, path: Path) -> None:
    """Write ``rest.pth``, and give the folder its name."""
    write_atomically(part / REST, _serialized(rest))
    sync_folder(part)
    old = path.with_name(path.name + OLD)
    remove(old)
    if path.exists():
        path.rename(old)  # restore_replaced undoes a kill from here on
    part.rename(path)
    sync_folder(path.parent)
    remove(old)
