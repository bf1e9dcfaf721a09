"""Checkpoint files that are whole or not there, and the backend by which mmengine writes them."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ...errors import UserError
from ...files import replacing

#: Name under which mmengine finds :class:`AtomicLocalBackend`.
BACKEND = "atomic_local"


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file by new content; whoever looks finds the old or the new one, never a part.

    Args:
        path: A local file; its folder is there.
        content: All of it.

    Raises:
        UserError: It cannot be written, because a disk is full for example; what was there still
            is, and no part of the new one.
    """
    try:
        with replacing(path, sync=True) as part:
            part.write_bytes(content)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): make room or choose another --work-dir; "
            "earlier checkpoints are as they were, and --resume goes on from them"
        ) from error


@register_backend(BACKEND)
class AtomicLocalBackend(LocalBackend):
    """mmengine's local files, written atomically."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, making its folder."""
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        # A buffer's memory comes as a view.
        write_atomically(filepath, bytes(obj))

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text to a file, making its folder."""
        self.put(obj.encode(encoding), filepath)
