"""One run to a folder: others are kept out, and what the run's folder holds is the run's own."""

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

#: The file that a run holds the lock of.
LOCK = ".lock"
#: What is at the end of the name of a folder that a newer one is about to replace.
OLD = ".old"
_CHECKPOINT = re.compile(r"(iter|epoch)_(?P<step>\d+)\.pth")
_BEST = re.compile(r"best_.+_\d+\.pth")
#: Locked files by their folders. Closing one gives its lock back.
_held: dict[Path, int] = {}


def checkpoint_folder(work_dir: str, out_dir: str | os.PathLike[str] | None) -> str:
    """Where mmengine's ``CheckpointHook`` puts the checkpoints of a run.

    Args:
        work_dir: Of the run, absolute.
        out_dir: The hook's argument.
    """
    if out_dir is None or str(out_dir) == work_dir:
        return work_dir
    return os.path.join(out_dir, os.path.basename(work_dir.rstrip(os.sep)))


def is_remote(folder: str | os.PathLike[str] | None) -> bool:
    """Whether a folder is an address of mmengine's remote backends."""
    return folder is not None and "://" in str(folder)


def numbered_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that training can go on from, by their names; from the newest on."""
    steps = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _CHECKPOINT.fullmatch(path.name):
            steps[path] = int(match["step"])
    return sorted(steps, key=lambda path: steps[path], reverse=True)


def check_unused(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds checkpoints of another run, with which new ones would mix.

    Raises:
        UserError: It does.
    """
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
    """Keep other runs out of a folder until :func:`release`, or until this process has ended.

    The system takes the lock back from a process that is killed, and a process that is forked does
    not have it. What killed runs left half written is removed.

    Args:
        folder: Made if it is missing. One that this process holds already stays so.

    Raises:
        UserError: Another process holds it, or it cannot be written to.
    """
    folder = Path(folder).resolve()
    if folder in _held or fcntl is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A link would have another file overwritten.
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
    """End the replacing of folders that a kill has cut off, the old one or the new one in place.

    Args:
        folder: Of checkpoints; it may be missing.
    """
    for path in list(folder.glob(f"*{OLD}")):
        if _CHECKPOINT.fullmatch(path.stem) and path.is_dir():
            if path.with_suffix("").exists():  # it has its name only since it was whole
                remove(path)
            else:
                path.rename(path.with_suffix(""))


def remove(path: Path) -> None:
    """Remove a file or a folder; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
