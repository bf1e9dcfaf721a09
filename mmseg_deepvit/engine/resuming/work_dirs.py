"""Keep each folder for one run, by a lock and by its checkpoints."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import socket
from pathlib import Path

from mmengine.logging import print_log

from ...errors import UserError
from ...files import is_part

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: File that a run locks.
LOCK = ".lock"
#: Ending of the name of a folder that a newer one replaces.
OLD = ".old"
_CHECKPOINT = re.compile(r"(iter|epoch)_(?P<step>\d+)\.pth")
_BEST = re.compile(r"best_.+_\d+\.pth")
#: Descriptors of locked files by their folders. Closing one releases its lock.
_held: dict[Path, int] = {}


def checkpoint_folder(work_dir: str, out_dir: str | os.PathLike[str] | None) -> str:
    """Folder where mmengine's ``CheckpointHook`` saves checkpoints.

    Args:
        work_dir: Absolute path of the run's folder.
        out_dir: Argument of the hook.
    """
    if out_dir is None or str(out_dir) == work_dir:
        return work_dir
    return os.path.join(out_dir, os.path.basename(work_dir.rstrip(os.sep)))


def is_remote(folder: str | os.PathLike[str] | None) -> bool:
    """Whether a folder is an address for mmengine's remote backends."""
    return folder is not None and "://" in str(folder)


def numbered_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints to resume from, by their names, the newest first."""
    steps = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _CHECKPOINT.fullmatch(path.name):
            steps[path] = int(match["step"])
    return sorted(steps, key=lambda path: steps[path], reverse=True)


def check_unused(folder: str | os.PathLike[str]) -> None:
    """Raise UserError if a folder holds checkpoints, with which those of a new run would mix."""
    restore_replaced(Path(folder))
    found = numbered_checkpoints(Path(folder))
    if not found and Path(folder).is_dir():
        found = [path for path in Path(folder).iterdir() if _BEST.fullmatch(path.name)]
    if found:
        raise UserError(
            f"{folder} holds checkpoints of an earlier run ({found[0].name}): go on from them with "
            "--resume, or start the new run in another --work-dir"
        )


def claim(folder: str | os.PathLike[str]) -> None:
    """Keep other runs out of a folder until :func:`release` or the end of this process.

    The system releases the lock of a killed process, and forked processes do not hold it. Partly
    written files of killed runs are removed.

    Args:
        folder: Path of the folder, made if it is missing. This process may hold it already.

    Raises:
        UserError: Another process holds the folder, or it cannot be written to.
    """
    folder = Path(folder).resolve()
    if folder in _held or fcntl is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A link would lead to another file, which would be overwritten.
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be used ({error.strerror}): choose another --work-dir"
        ) from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise UserError(
                f"{folder} is in use by another run ({holder}): wait for its end, or choose "
                "another --work-dir"
            ) from error
        print_log(
            f"{folder} cannot be locked ({error.strerror}): start no second run in it meanwhile",
            "current",
            logging.WARNING,
        )
        return
    _held[folder] = descriptor
    with contextlib.suppress(OSError):  # on a full disk, or of another user
        for path in filter(is_part, folder.iterdir()):
            remove(path)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def release(folder: str | os.PathLike[str]) -> None:
    """Let other runs into a folder again."""
    descriptor = _held.pop(Path(folder).resolve(), None)
    if descriptor is not None:
        os.close(descriptor)


def restore_replaced(folder: Path) -> None:
    """Finish or undo the replacement of folders that a kill interrupted.

    Args:
        folder: Path of the folder of checkpoints, which may be missing.
    """
    for path in list(folder.glob(f"*{OLD}")):
        if _CHECKPOINT.fullmatch(path.stem) and path.is_dir():
            if path.with_suffix("").exists():  # the new one is complete, since it has its name
                remove(path)
            else:
                path.rename(path.with_suffix(""))


def remove(path: Path) -> None:
    """Remove a file, a folder or a link, but not a link's target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
