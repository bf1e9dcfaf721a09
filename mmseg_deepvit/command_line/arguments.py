"""Command lines of tools: their parser, the options that they share, and checks of values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .. import require_stack  # noqa: F401

# isort: split
from mmengine.config import DictAction

from ..errors import first_line
from ..quick_help import only_help

if not only_help():
    import torch

_HIDDEN_SPACE = "\0"  # no argument of a process holds it
_LONGEST_SIDE = 32768  # pixels of an image's side, OpenCV's limit


class ConfigOptions(DictAction):
    """mmengine's reading of ``KEY=VALUE``, which keeps spaces within values, as paths have them.

    Where it cannot read, it is a usage error.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Parse, or leave with status 2 and one line."""
        given = [str(value) for value in values or ()]
        try:
            super().__call__(parser, namespace, [_hide_spaces(v) for v in given], option_string)
        except (AssertionError, RecursionError, ValueError):
            line = " ".join(given)
            parser.error(f"{option_string} {line}: expected KEY=VALUE, lists as KEY='[a,b]'")
        setattr(namespace, self.dest, _show_spaces(getattr(namespace, self.dest)))


def _hide_spaces(given: str) -> str:
    """Replace spaces, which mmengine would remove, but for those around the items of a list."""
    key, equals, value = given.partition("=")
    value = value.strip()
    if "," in value or value.startswith(("[", "(")):
        value = re.sub(r"(?<=[,(\[]) +| +(?=[,)\]])", "", value)
    return key + equals + value.replace(" ", _HIDDEN_SPACE)


def _show_spaces(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(_HIDDEN_SPACE, " ")
    if isinstance(value, Mapping):
        return {key: _show_spaces(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_show_spaces, value))
    return value


def tool_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help shows a tool's docstring."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


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
    parser.add_argument("--work-dir", help="folder for logs and checkpoints (work_dirs/CONFIG)")
    add_config_options(parser)
    launchers = ["none", "pytorch", "slurm", "mpi"]
    parser.add_argument("--launcher", choices=launchers, default="none", help="job launcher")
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
        said = first_line(error)
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used ({said}): try cpu") from error
    return text


def check_shape(parser: argparse.ArgumentParser, shape: Sequence[int] | None) -> None:
    """Leave with a usage error unless ``--shape`` is one or two sides of an image."""
    if shape and (len(shape) > 2 or min(shape) < 1 or max(shape) > _LONGEST_SIDE):
        given = " ".join(map(str, shape))
        parser.error(f"--shape takes one or two numbers from 1 to {_LONGEST_SIDE}, got {given}")


def check_at_least(
    parser: argparse.ArgumentParser, args: argparse.Namespace, least: int, *names: str
) -> None:
    """Leave with a usage error where one of some options is below the least value."""
    for name in names:
        value = getattr(args, name)
        lowest = min(value) if isinstance(value, list) else value
        if lowest is not None and lowest < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}, got {lowest}")
