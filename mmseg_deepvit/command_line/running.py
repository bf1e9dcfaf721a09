"""Run a tool: errors that its user can correct become one line and exit status 2."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from ..errors import UserError

#: Set to show the traceback of an error that the tools would print as one line.
TRACEBACK_VARIABLE = "MMSEG_DEEPVIT_TRACEBACK"

#: Our errors in the traceback of a worker process, which arrives as text.
_OURS = re.compile(r"^mmseg_deepvit\.[\w.]+Error: (.+)$", re.MULTILINE)
#: Errors of libraries: a pattern of their text, and the line for the user.
_LIBRARY_ERRORS = (
    (
        "need at least one array to concatenate",
        "a dataset finds no images: look at its data_root, data_prefix and img_suffix",
    ),
    (
        r"(?i)(out of|insufficient) memory|can't allocate memory|unable to allocate|buffer size",
        "there is not enough memory for it: take a smaller batch, crop, --shape or model",
    ),
    (
        r"\[Errno (?:28|122)\]|No space left on device",
        "the disk is full (No space left on device): make room or choose another folder; "
        "checkpoints are as they were, and --resume goes on from them",
    ),
    (
        r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (?:is killed|exited unexpectedly)",
        "a worker process of a data loader was killed, mostly for want of memory: set "
        "num_workers=0 or a smaller batch_size of that dataloader",
    ),
    (
        r"gloo/transport/.*by peer",
        "another process of this run has ended: its own message says why",
    ),
)


def run(main: Callable[[], int | None]) -> None:
    """Run a tool and exit.

    Args:
        main: Function of the tool; it returns the exit status, None for 0.
    """
    # With a full disk each line of the log would bring a traceback.
    logging.raiseExceptions = False
    try:
        try:
            status: Any = main()
        except SystemExit as stop:  # after --help, whose text may still be in the buffer
            status = stop.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        line = _stdout_line() or one_line(error)
        if line is None or os.environ.get(TRACEBACK_VARIABLE):
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status)


def _stdout_line() -> str | None:
    """A line for the user where standard output takes nothing more, None where it does."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python flushes again at its end, and would print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"standard output cannot be written to ({error.strerror}): send it elsewhere"
    return None


def one_line(error: BaseException) -> str | None:
    """The line for the user about an error, None where the user cannot correct it."""
    if ours := worker_line(error):
        return ours
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    return library_line(error)


def worker_line(error: BaseException) -> str | None:
    """Our line in the error of a worker process, whose text is the traceback there."""
    ours = _OURS.findall(str(error)) if "in DataLoader worker" in str(error) else []
    return ours[-1] if ours else None


def library_line(error: BaseException) -> str | None:
    """The line for an error of a file, of memory or of another process, None for other errors."""
    named = isinstance(error, OSError) and isinstance(error.filename, str | bytes | os.PathLike)
    if isinstance(error, OSError) and named and error.errno not in (errno.ENOSPC, errno.EDQUOT):
        path = os.fsdecode(error.filename)
        if isinstance(error, FileNotFoundError):
            return f"{path} does not exist: put it there, or give another path"
        return f"{path} cannot be used ({error.strerror}): give another path"
    found = (line for pattern, line in _LIBRARY_ERRORS if re.search(pattern, str(error)))
    return next(found, None)
