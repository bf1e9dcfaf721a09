"""Read checkpoint files without running code from them.

Files are read by PyTorch's ``weights_only`` unpickler, which builds tensors and plain containers
and refuses everything else; what mmengine and published training scripts write beside the weights
(log histories, NumPy scalars, command-line arguments) is allowed by name.
"""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import CheckpointError
from .download import download
from .formats import is_safetensors, what_else
from .sharded import is_sharded, read_sharded
from .timm_hub import TIMM_SCHEME, fetch_timm


class _InertHistory:
    """Stands in for mmengine's log history: its state is kept, nothing of it can be called."""


class _InertConfig:
    """Stands in for the configuration that Swin's training saves: what is in it, as a dict."""

    def __new__(cls) -> OrderedDict:  # type: ignore[misc]
        """The one dict with attributes that PyTorch's unpickler fills."""
        return OrderedDict()


def _inert_attribute(*_: object) -> None:
    """Stands in for ``getattr``, by which a history names its methods.

    The real one is never allowed: it would reach any code from any allowed object.
    """


def _posing_as(stand_in: Any, module: str, name: str) -> Any:
    """Give a stand-in the name that files know; PyTorch looks allowed objects up by it."""
    stand_in.__module__, stand_in.__name__, stand_in.__qualname__ = module, name, name
    return stand_in


@cache
def _allowed_globals() -> list[Any]:
    """What training scripts save beside tensors: numbers, log histories, their arguments."""
    multiarray = import_module(
        "numpy._core.multiarray" if np.__version__ >= "2" else "numpy.core.multiarray"
    )
    dtypes = [type(np.dtype(t)) for t in ("float64", "float32", "int64", "int32", "bool", "uint8")]
    # NumPy 2 files name the module numpy._core, older ones numpy.core: both spellings are read.
    rebuild = [
        _posing_as(partial(function), f"numpy.{core}.multiarray", function.__name__)
        for function in (multiarray._reconstruct, multiarray.scalar)
        for core in ("_core", "core")
    ]
    return [
        Namespace,  # timm, DeiT, DINO; plain attributes
        np.ndarray,
        np.dtype,
        *dtypes,
        *rebuild,
        _posing_as(_InertHistory, "mmengine.logging.history_buffer", "HistoryBuffer"),
        _posing_as(_InertConfig, "yacs.config", "CfgNode"),
        _posing_as(_inert_attribute, "builtins", "getattr"),
    ]


def read_checkpoint(path: str | os.PathLike) -> Mapping[str, Any]:
    """Read a checkpoint on the CPU without running code from it.

    Args:
        path: A local file (PyTorch's formats or safetensors, told by its content), a folder that
            several processes have saved (:mod:`~mmseg_deepvit.checkpoints.sharded`), an
            ``http(s)://`` address, which is downloaded once into torch.hub's folder, or
            ``timm://NAME``, the pretrained weights of that model of timm.

    Returns:
        What the file holds, a mapping.

    Raises:
        CheckpointError: There is no such file, it is damaged or of another kind, or it holds
            objects that are not plain data.
    """
    path = os.fspath(path)
    if is_sharded(path):
        return read_sharded(path, read_checkpoint)
    local = _locate(path)
    named = path if path == str(local) else f"{path} ({local})"
    try:
        if is_safetensors(local):
            return load_file(local)
        other = what_else(local)
    except SafetensorError as error:
        raise CheckpointError(
            f"checkpoint {named} is damaged or not a safetensors file ({error}): download or save "
            "it again"
        ) from error
    except OSError as error:
        raise CheckpointError(f"checkpoint {named} cannot be read ({error.strerror})") from error
    if other:
        raise CheckpointError(f"checkpoint {named} is {other}")
    return _read_pickle(local, named)


def _locate(path: str) -> Path:
    if path.startswith(TIMM_SCHEME):
        return fetch_timm(path)
    if path.startswith(("http://", "https://")):
        return download(path)
    local = Path(path).expanduser()
    if not local.is_file():
        what = "is a folder" if local.is_dir() else "does not exist"
        raise CheckpointError(f"checkpoint {path} {what}: give the path of a .pth file")
    return local


def _read_pickle(local: Path, path: str) -> Mapping[str, Any]:
    try:
        # A file object: by a path's ending PyTorch may take it for another format.
        with local.open("rb") as file, torch.serialization.safe_globals(_allowed_globals()):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises anything from EOFError to KeyError on bad files
        raise CheckpointError(_reading_failed(path, error)) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"checkpoint {path} holds a {type(content).__name__}, not a dict of weights: "
            "save model.state_dict()"
        )
    return content


def _reading_failed(path: str, error: Exception) -> str:
    foreign = re.search(r"(?i)unsupported (?:global|class):? (?:global )?(\S+)", str(error))
    if foreign:
        return (
            f"checkpoint {path} holds objects that are not plain data ({foreign[1]}), and reading "
            "them would run code from the file: save the weights alone, model.state_dict()"
        )
    # Of PyTorch's advice only the cause is passed on: it also names the switch that runs code.
    cause = re.search(r"WeightsUnpickler error: (.+)", str(error))
    lines = [cause[1]] if cause else str(error).splitlines()
    reason = lines[0] if lines and "weights_only" not in lines[0] else type(error).__name__
    return (
        f"checkpoint {path} is damaged or not a PyTorch file ({reason}): download or save it again"
    )
