"""What the command-line tools share: configs, options, and errors in one line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from .errors import UserError

#: Set to show the traceback of an error that the tools would print as one line.
TRACEBACK_VARIABLE = "MMSEG_DEEPVIT_TRACEBACK"

#: Errors that arrive with no type of ours: what libraries say, and what to tell the user.
_LIBRARY_ERRORS = (
    (
        r"\[Errno 2\] No such file or directory: '(?P<path>[^']+)'",
        "{path} does not exist: put the data there, or set data_root (--cfg-options "
        "train_dataloader.dataset.data_root=…, the same for val and test)",
    ),
    (
        "need at least one array to concatenate",
        "a dataset finds no images: look at its data_root, data_prefix and img_suffix",
    ),
    (
        r"gloo/transport/.*by peer",
        "another process of this run has ended: its own message says why",
    ),
    (r"UserError: (?P<line>.+)", "{line}"),  # from a worker process, whose errors arrive as text
)


def run(main: Callable[[], int | None]) -> None:
    """Run a tool and exit; errors a user can mend become one line and exit status 2.

    Args:
        main: The tool; returns its exit status, None for 0.
    """
    try:
        status = main()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        line = one_line(error)
        if line is None or os.environ.get(TRACEBACK_VARIABLE):
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status)


def one_line(error: Exception) -> str | None:
    """What to tell the user about an error, or None if it is not the user's to mend."""
    # What a worker raised arrives as an error of its type whose text is the whole traceback.
    from_worker = "in DataLoader worker" in str(error)
    if isinstance(error, UserError) and not from_worker:
        return " ".join(str(error).split())
    return _library_line(error)


def _library_line(error: Exception) -> str | None:
    for pattern, message in _LIBRARY_ERRORS:
        match = re.search(pattern, str(error))
        if match:
            return message.format(**match.groupdict())
    return None


@contextmanager
def config_errors(config: str) -> Iterator[None]:
    """Turn what building from a config raises into a :class:`UserError` that names the config."""
    try:
        yield
    except UserError:
        raise
    except (AssertionError, AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        said = _library_line(error) or " ".join(text.split()) or type(error).__name__
        raise UserError(f"config {config}: {said} ({TRACEBACK_VARIABLE}=1 shows where)") from error


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config and apply ``--cfg-options``.

    Args:
        path: A config file.
        options: Dotted keys and values that go before the file's.

    Returns:
        The config; its default scope is entered, so that registries find mmseg's classes.

    Raises:
        UserError: No such file, or it is no config.
    """
    if not Path(path).is_file():
        raise UserError(f"config {path} does not exist: see configs/ for those that come with us")
    try:
        cfg = Config.fromfile(path)
        if options:
            cfg.merge_from_dict(options)
    except Exception as error:  # a config is code: it can raise anything
        said = " ".join(str(error).split())
        raise UserError(f"config {path} cannot be read ({type(error).__name__}: {said})") from error
    if "model" not in cfg:
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


def runner_config(args: argparse.Namespace) -> Config:
    """The config that the options of :func:`add_runner_options` ask for."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    return cfg
