"""Configs as tools take them: read with ``--cfg-options``, their errors in one line."""

from __future__ import annotations

import argparse
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import require_stack  # noqa: F401

# isort: split
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..errors import UserError, reason
from ..quick_help import only_help
from .results import check_out
from .running import TRACEBACK_VARIABLE, library_line, worker_line

if not only_help():
    from .. import inference
    from ..checkpoints import read_checkpoint
    from ..safe_loading import install
    from .config_options import merge_options

_MOST_SAID = 600  # letters of a library's message that are passed on


def load_config(path: str, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config and apply ``--cfg-options``.

    Args:
        path: Path of a config.
        options: Dotted keys and values that replace the file's.

    Returns:
        The config. Its default scope is entered, so that registries find mmseg's classes. Files
        are loaded safely from now on (:func:`mmseg_deepvit.safe_loading.install`).

    Raises:
        UserError: The file is missing or is no config, or an option names no setting.
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
        said = reason(error, _MOST_SAID)
        raise UserError(f"config {path} cannot be read ({type(error).__name__}: {said})") from error
    if options:
        merge_options(cfg, options)
    if not isinstance(cfg.get("model"), dict):
        raise UserError(f"config {path} has no model: give a config of configs/, not of _base_/")
    init_default_scope(cfg.get("default_scope", "mmseg"))
    return cfg


def saved_config(checkpoint: str, options: Mapping[str, Any] | None = None) -> Config:
    """The config inside a checkpoint with ``--cfg-options``, as :func:`load_config` gives it.

    Raises:
        UserError: The file cannot be read or holds no config that is plain data, or an option names
            no setting.
    """
    install()
    cfg = inference.saved_config(read_checkpoint(checkpoint))
    if options:
        merge_options(cfg, options)
    init_default_scope("mmseg")
    return cfg


def runner_config(args: argparse.Namespace) -> Config:
    """The config that the options of training and testing ask for; see ``add_runner_options``."""
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


@contextmanager
def config_errors(config: str) -> Iterator[None]:
    """Turn errors of building from a config into a :class:`UserError` that names the config."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the settings of a config reach any code
        if ours := worker_line(error):
            raise UserError(ours) from error
        if line := library_line(error):
            raise UserError(f"config {config}: {line}") from error
        said = _asserted(error) or reason(error, _MOST_SAID)
        if " " not in said:  # a bare key, or nothing
            kind = type(error).__name__
            said = kind if said == kind else f"{kind} {said}"
        raise UserError(f"config {config}: {said} ({TRACEBACK_VARIABLE}=1 shows where)") from error


def _asserted(error: BaseException) -> str | None:
    """Condition and values of an assertion without a message, None for other errors."""
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
    """A line that names the file of a ``mmseg::…`` base, None for other errors.

    mmengine looks for such a base in OpenMMLab's packages only.
    """
    if not isinstance(error, ModuleNotFoundError):
        return None
    named = re.search(r"['\"](mm\w+)::([\w./+-]+)['\"]", Path(path).read_text(errors="replace"))
    spec = find_spec(named[1]) if named else None
    if named is None or spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent / ".mim" / "configs" / named[2]
    remedy = f"name the file itself, {place}" if place.is_file() else "copy that config next to it"
    return (
        f"config {path}: {named[1]}::{named[2]} is looked for in OpenMMLab's own package, and "
        f"OneDL's is installed: {remedy}"
    )
