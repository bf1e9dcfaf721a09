"""Files that are complete or not there: written under another name, then renamed."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

#: Ending of the name of a file or folder that is being written.
PART = ".part"
_PART_NAME = re.compile(r"\..+\.[0-9a-f]{8}" + re.escape(PART))


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], sync: bool = False) -> Iterator[Path]:
    """Replace a file; readers find the old or the new one, never a part of it.

    Args:
        path: Path of the file, in an existing folder.
        sync: Whether the new file must survive a power cut from now on.

    Yields:
        Unique path in the same folder, where the block writes the new file. The file gets its name
        when the block ends, and is removed when the block fails.

    Raises:
        OSError: The file cannot be written; the old one stays.
    """
    path = Path(path)
    part = part_of(path)
    try:
        yield part
        if sync:
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
        if sync:
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Unique path in the same folder for a file or folder that is being written."""
    return path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:8]}{PART}")


def is_part(path: Path) -> bool:
    """Whether a name is one that :func:`part_of` gives."""
    return _PART_NAME.fullmatch(path.name) is not None


def sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
