"""Files that are whole or not there: written beside, synced, renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ..errors import UserError

#: Name under which mmengine finds :class:`AtomicLocalBackend`.
BACKEND = "atomic_local"
#: What stands at the end of a file's name while it is being written.
PART = ".part"


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Replace a file by new content; whoever looks finds the old or the new one, never a part.

    Args:
        path: A local file; its folder is there.
        content: All of it.

    Raises:
        UserError: It cannot be written, because a disk is full for example; what was there still
            is, and no part of the new one.
    """
    path = Path(path)
    part = path.with_name(path.name + PART)
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written ({error.strerror}): make room or choose another --work-dir; "
            "earlier checkpoints are as they were, and --resume goes on from them"
        ) from error


def sync_folder(folder: Path) -> None:
    """Have the new name survive a power cut; not every system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
