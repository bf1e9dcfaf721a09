"""Read checkpoint files without running code from them.

PyTorch's ``weights_only`` unpickler builds tensors and plain containers and refuses all else.
:mod:`.allowed_objects` adds the objects that mmengine and published training scripts write. A file
that needs more is read only where the user trusts it by name.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, reason
from .allowed_objects import allowed_globals
from .checkpoint import Checkpoint
from .download import download
from .formats import is_safetensors, what_else
from .safetensors_files import read_safetensors
from .sharded import REST, is_sharded, read_sharded
from .timm_hub import TIMM_SCHEME, fetch_timm

#: Variable with the paths of files that may run code when they are read, between colons as in PATH.
TRUST_VARIABLE = "MMSEG_DEEPVIT_TRUST_CHECKPOINT"


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint on the CPU without running code from it.

    Args:
        path: Local file (PyTorch's formats or safetensors), folder of several processes
            (:mod:`~mmseg_deepvit.checkpoints.sharded`), ``http(s)://`` address, downloaded once,
            or ``timm://NAME``, pretrained weights of timm. The code in a file that the variable
            ``MMSEG_DEEPVIT_TRUST_CHECKPOINT`` names is run, as ``pickle`` does.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, or holds objects that are
            not plain data.
    """
    path = os.fspath(path)
    if is_sharded(path):
        return read_sharded(read_checkpoint(Path(path) / REST))
    local = locate(path)
    named = path if path == str(local) else f"{path} ({local})"
    try:
        if is_safetensors(local):
            return Checkpoint(read_safetensors(local, named), path)
        other = what_else(local)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {named} cannot be read ({reason(error)}); look at its rights"
        ) from error
    if other:
        raise CheckpointError(f"checkpoint {named} is {other}")
    if trusted := _is_trusted(local):
        warnings.warn(f"{named} is trusted: code in it is run", stacklevel=2)
    return Checkpoint(_read_pickle(local, named, trusted), path)


def locate(path: str) -> Path:
    """Local file of a path or address, downloaded if need be; CheckpointError if there is none."""
    if path.startswith(TIMM_SCHEME):
        return fetch_timm(path)
    if path.startswith(("http://", "https://")):
        return download(path)
    if not path.strip():
        raise CheckpointError("the path of a checkpoint is empty; give the path of a .pth file")
    local = Path(path).expanduser()
    try:
        is_file, is_folder = local.is_file(), local.is_dir()
    except (OSError, ValueError) as error:  # a name too long, or with a null character
        raise CheckpointError(
            f"checkpoint {path[:99]!r} is no name for a file ({reason(error)}); give the path of "
            "a .pth file"
        ) from error
    if not is_file:
        what = "is a folder" if is_folder else "does not exist"
        raise CheckpointError(
            f"checkpoint {path} {what}; give the path of a .pth or .safetensors file"
        )
    return local


def _is_trusted(local: Path) -> bool:
    named = filter(None, os.environ.get(TRUST_VARIABLE, "").split(os.pathsep))
    return os.path.realpath(local) in {os.path.realpath(os.path.expanduser(n)) for n in named}


def _read_pickle(local: Path, path: str, trusted: bool) -> Mapping[str, Any]:
    try:
        # A file object has no ending, by which PyTorch might take it for another format.
        with local.open("rb") as file, torch.serialization.safe_globals(allowed_globals()):
            content = torch.load(file, map_location="cpu", weights_only=not trusted)
    except Exception as error:  # torch.load raises anything from EOFError to KeyError on bad files
        raise CheckpointError(_reading_failed(path, local, error)) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"checkpoint {path} holds a {type(content).__name__}, not a dict of weights; "
            "save model.state_dict()"
        )
    return content


#: Messages of PyTorch's unpickler about objects that are not allowed.
_FOREIGN = (
    r"(?i)unsupported (?:global|class):? (?:global )?(\S+)",
    r"Trying to load unsupported GLOBAL (\S+) whose module",
    r"(?:Trying to call reduce for unrecognized function|but got) (<[^>]+>)",
)


def _reading_failed(path: str, local: Path, error: Exception) -> str:
    for pattern in _FOREIGN:
        if foreign := re.search(pattern, str(error)):
            return (
                f"checkpoint {path} holds objects that are not plain data ({foreign[1]}), and "
                "reading them would run code from the file; save the weights alone, "
                "model.state_dict(), or if you trust who made it set "
                f"{TRUST_VARIABLE}={local} in the environment"
            )
    # Only the cause is passed on: PyTorch's advice also names the switch that runs code.
    cause = re.search(r"WeightsUnpickler error: (.+)", str(error))
    lines = [cause[1]] if cause else str(error).splitlines()
    reason = lines[0] if lines and "weights_only" not in lines[0] else type(error).__name__
    return (
        f"checkpoint {path} is damaged or not a PyTorch file ({reason}); download or save it again"
    )
