"""What the command-line tools share: configs, options, and errors in one line."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import require_stack  # noqa: F401

# isort: split
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from ..errors import UserError
from ..quick_help import only_help

if not only_help():
    import torch

    from ..safe_loading import install
    from .config_options import merge_options

#: Set to show the traceback of an error that the tools would print as one line.
TRACEBACK_VARIABLE = "MMSEG_DEEPVIT_TRACEBACK"

_LONGEST_SIDE = 32768  # pixels of an image's side, which is as far as OpenCV goes
_MOST_SAID = 600  # letters of what a library says that are passed on
#: What our errors look like in the traceback of a worker process, which arrives as text.
_OURS = re.compile(r"^mmseg_deepvit\.[\w.]+Error: (.+)$", re.MULTILINE)
#: Errors that arrive with no type of ours: what libraries say, and what to tell the user.
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
    """Run a tool and exit; errors a user can mend become one line and exit status 2.

    Args:
        main: The tool; returns its exit status, None for 0.
    """
    # With a full disk each line of the log would bring a traceback of its own.
    logging.raiseExceptions = False
    try:
        try:
            status: Any = main()
        except SystemExit as stop:  # after --help, which may still be in the buffer
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
    """What to tell where standard output takes nothing more, a full device say; None if it does."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python tries once more when it ends, and would tell a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"standard output cannot be written to ({error.strerror}): send it elsewhere"
    return None


def one_line(error: BaseException) -> str | None:
    """What to tell the user about an error, or None if it is not the user's to mend."""
    if ours := _worker_line(error):
        return ours
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    return _library_line(error)


def _worker_line(error: BaseException) -> str | None:
    """Our line in what a worker raised: an error whose text is the whole traceback."""
    ours = _OURS.findall(str(error)) if "in DataLoader worker" in str(error) else []
    return ours[-1] if ours else None


def _library_line(error: BaseException) -> str | None:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    named = isinstance(error, OSError) and isinstance(error.filename, str | bytes | os.PathLike)
    if isinstance(error, OSError) and named and not full:
        path = os.fsdecode(error.filename)
        if isinstance(error, FileNotFoundError):
            return f"{path} does not exist: put it there, or give another path"
        return f"{path} cannot be used ({error.strerror}): give another path"
    for pattern, message in _LIBRARY_ERRORS:
        if re.search(pattern, str(error)):
            return message
    return None


@contextmanager
def config_errors(config: str) -> Iterator[None]:
    """Turn what building from a config raises into a :class:`UserError` that names the config."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # what is in a config reaches any code
        if ours := _worker_line(error):
            raise UserError(ours) from error
        if line := _library_line(error):
            raise UserError(f"config {config}: {line}") from error
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        said = " ".join(text.split())[:_MOST_SAID]
        if asserted := _asserted(error):
            said = asserted
        elif " " not in said:  # a bare key, or nothing
            said = f"{type(error).__name__} {said}".strip()
        raise UserError(f"config {config}: {said} ({TRACEBACK_VARIABLE}=1 shows where)") from error


def _asserted(error: BaseException) -> str | None:
    """What an assertion without a message wanted and what there is; None for other errors."""
    while error.__context__ is not None:  # registries wrap it
        error = error.__context__
    if not isinstance(error, AssertionError) or str(error) or error.__traceback__ is None:
        return None
    where = traceback.extract_tb(error.__traceback__)[-1]
    wanted = (where.line or "").removeprefix("assert ")
    owner = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1].f_locals.get("self")
    names = re.findall(r"\bself\.(\w+)", wanted)
    values = ", ".join(f"{n}={getattr(owner, n, None)!r}" for n in dict.fromkeys(names))
    kind = Path(where.filename).name if owner is None else type(owner).__name__
    have = f", and the config gives {values}" if values else ""
    return f"{kind} needs {wanted.replace('self.', '')}{have}: set them to fit"


def _external_base(path: str, error: BaseException) -> str | None:
    """The file to name in place of ``mmseg::…``, which mmengine finds in OpenMMLab's packages only.

    Returns:
        A line, or None where the config names no such base, or its error is another.
    """
    if not isinstance(error, ModuleNotFoundError):
        return None
    named = re.search(r"['\"](mm\w+)::([\w./+-]+)['\"]", Path(path).read_text(errors="replace"))
    spec = find_spec(named[1]) if named else None
    if named is None or spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent / ".mim" / "configs" / named[2]
    remedy = f"name the file itself, {place}" if place.is_file() else "copy that config beside it"
    return (
        f"config {path}: {named[1]}::{named[2]} is looked for in OpenMMLab's own package, and "
        f"OneDL's is installed: {remedy}"
    )


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config and apply ``--cfg-options``.

    Args:
        path: A config file.
        options: Dotted keys and values that go before the file's.

    Returns:
        The config; its default scope is entered, so that registries find mmseg's classes, and
        files are loaded safely from now on (:func:`mmseg_deepvit.safe_loading.install`).

    Raises:
        UserError: No such file, it is no config, or an option names nothing that there is.
    """
    if not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        raise UserError(f"config {path} {what}: see configs/ for those that come with us")
    install()  # before the config's own imports, which may replace more
    try:
        cfg = Config.fromfile(path)
    except (Exception, SystemExit) as error:  # a config is code: it can raise anything
        if line := _external_base(path, error):
            raise UserError(line) from error
        said = " ".join(str(error).split())[:_MOST_SAID]
        raise UserError(f"config {path} cannot be read ({type(error).__name__}: {said})") from error
    if options:
        merge_options(cfg, options)
    if not isinstance(cfg.get("model"), dict):
        raise UserError(f"config {path} has no model: give a whole config, not a part of _base_")
    init_default_scope(cfg.get("default_scope", "mmseg"))
    return cfg


class ConfigOptions(DictAction):
    """mmengine's reading of ``KEY=VALUE``, with a usage error for what it cannot read."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Parse, or leave with status 2 and one line."""
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, RecursionError, ValueError):
            given = " ".join(map(str, values or ()))
            parser.error(f"{option_string} {given}: expected KEY=VALUE, lists as KEY='[a,b]'")


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, as mmseg's tools have it."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=ConfigOptions,
        metavar="KEY=VALUE",
        help='override the config, e.g. train_dataloader.batch_size=16; lists as key="[a,b]"',
    )


def add_runner_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share, as mmseg's tools have them."""
    parser.add_argument("--work-dir", help="where logs and checkpoints go (work_dirs/CONFIG)")
    add_config_options(parser)
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher",
    )
    # torchrun sets the environment; older launchers pass the rank as an option.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``; :func:`pick_device` turns None into a device."""
    parser.add_argument("--device", type=_device, help="cuda:0 where there is a GPU, else cpu")


def pick_device(asked: str | None) -> str:
    """The device that was asked for, else the first GPU, else the CPU."""
    return asked or ("cuda:0" if torch.cuda.is_available() else "cpu")


def _device(text: str) -> str:
    try:
        if torch.device(text).type == "meta":
            raise RuntimeError("it computes nothing")
        torch.zeros(1, device=text)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used ({said}): try cpu") from error
    return text


def check_shape(parser: argparse.ArgumentParser, shape: Sequence[int] | None) -> None:
    """Leave with a usage error unless ``--shape`` is one or two sides of an image."""
    if shape and (len(shape) > 2 or min(shape) < 1 or max(shape) > _LONGEST_SIDE):
        given = " ".join(map(str, shape))
        parser.error(f"--shape takes one or two numbers from 1 to {_LONGEST_SIDE}, got {given}")


def check_out(path: str, option: str, is_folder: bool) -> Path:
    """Look, before any work is done, whether results can be written to where they should go.

    Args:
        path: What the command line gives.
        option: Its name there.
        is_folder: Whether a folder is wanted, else a file. Folders that are not there can be made.

    Returns:
        The path; nothing is made yet.

    Raises:
        UserError: It is empty, a file where a folder is wanted or the other way round, or no place
            to write to.
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
        said = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{option} {path[:99]!r} is no name for a file ({said})") from error
    return target


def runner_config(args: argparse.Namespace) -> Config:
    """The config that the options of :func:`add_runner_options` ask for."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = str(check_out(args.work_dir, "--work-dir", is_folder=True))
    elif cfg.get("work_dir") is not None:
        check_out(str(cfg.work_dir), "work_dir", is_folder=True)
    else:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    return cfg
