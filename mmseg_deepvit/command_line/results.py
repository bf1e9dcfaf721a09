"""Places that results are written to: looked at before the work, written to after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError, first_line, reason
from ..files import replacing


def check_out(path: str, option: str, is_folder: bool) -> Path:
    """Look whether results can be written to a place; nothing is made yet.

    Args:
        path: Path as the command line gives it.
        option: Name of the option that gives it.
        is_folder: Whether a folder is wanted, else a file. Missing folders can be made.

    Returns:
        The path.

    Raises:
        UserError: The path is empty, is a file instead of a folder or the reverse, or cannot be
            written to.
    """
    target = Path(path)
    try:
        if not path.strip():
            raise UserError(f"{option} is empty: name a {'folder' if is_folder else 'file'}")
        if "\0" in path:
            raise ValueError("a null character in it")
        if target.exists() and target.is_dir() is not is_folder:
            what = "file: name a folder" if is_folder else "folder: name a file in it"
            raise UserError(f"{option} {path} is a {what}")
        place = target.absolute()
        while not place.exists() or (place == target.absolute() and not is_folder):
            place = place.parent
        if not place.is_dir() or not os.access(place, os.W_OK):
            what = "may not be written to" if place.is_dir() else "is a file"
            raise UserError(f"{option} {path} cannot be written ({place} {what}): give another")
    except (OSError, ValueError) as error:  # a name too long, or with a null character
        raise UserError(
            f"{option} {path[:99]!r} is no name for a file ({reason(error)})"
        ) from error
    return target


@contextmanager
def writing(path: str | os.PathLike[str], option: str = "", sync: bool = False) -> Iterator[Path]:
    """Write a result: the new file replaces the old one when it is complete.

    Args:
        path: Path of the file; its folder is made.
        option: Name of the option that gives the path, for the message.
        sync: Whether the new file must survive a power cut from now on.

    Yields:
        The path that the block writes to.

    Raises:
        UserError: The file cannot be written, for lack of room or for a format that is unknown.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sync) as part:
            yield part
    except (OSError, RuntimeError, ValueError) as error:  # PyTorch's writer raises RuntimeError
        said = reason(error) if isinstance(error, OSError) else first_line(error)
        raise UserError(
            f"{option} {path} cannot be written ({said}): give another".lstrip()
        ) from error
