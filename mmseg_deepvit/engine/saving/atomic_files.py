"""Checkpoint files that are complete or not there, and mmengine's backend that writes them."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ...checkpoints.sharded import cause_of
from ...errors import UserError, reason
from ...files import replacing

#: Name under which mmengine finds :class:`AtomicLocalBackend`.
BACKEND = "atomic_local"


def cannot_write(path: str | os.PathLike[str], error: BaseException) -> UserError:
    """The error of a checkpoint that cannot be written, because a disk is full for example."""
    return UserError(
        f"{path} cannot be written ({reason(cause_of(error))}): make room or choose another "
        "--work-dir; earlier checkpoints are as they were, and --resume goes on from them"
    )


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a local file in an existing folder; readers find the old or the new content.

    Raises:
        UserError: The file cannot be written; the old one stays, and no part of the new one.
    """
    try:
        with replacing(path, sync=True) as part:
            part.write_bytes(content)
    except OSError as error:
        raise cannot_write(path, error) from error


@register_backend(BACKEND)
class AtomicLocalBackend(LocalBackend):
    """mmengine's local files, written atomically."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, making its folder."""
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(filepath, bytes(obj))  # mmengine may give a view of a buffer

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text to a file, making its folder."""
        self.put(obj.encode(encoding), filepath)
