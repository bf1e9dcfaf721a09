"""Files that are whole or not there: written under a name of their own, then renamed."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

#: What stands at the end of the name of a file or folder that is being written.
PART = ".part"
_PART_NAME = re.compile(r"\..+\.[0-9a-f]{8}" + re.escape(PART))


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], sync: bool = False) -> Iterator[Path]:
    """Replace a file; whoever looks finds the old or the new one, never a part of it.

    Args:
        path: The file; its folder is there.
        sync: Whether the new file shall survive a power cut from now on.

    Yields:
        Where the block writes the new file: a name that no other writer has, in the same folder.
        The file is given its own name when the block ends, and is removed when the block fails.

    Raises:
        OSError: It cannot be written; what was there still is.
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
    """A name in the same folder for a part of a file or folder; no two calls give the same."""
    return path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:8]}{PART}")


def is_part(path: Path) -> bool:
    """Whether a name is one that :func:`part_of` gives."""
    return _PART_NAME.fullmatch(path.name) is not None


def sync_folder(folder: Path) -> None:
    """Have the new name survive a power cut; not every system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
