"""Objects that a checkpoint may hold in addition to tensors: plain data that runs no code.

mmengine and published training scripts also save log histories, NumPy scalars, configurations and
command-line arguments. Each is allowed here under its name in the files. A stand-in replaces every
object whose methods a file could call.
"""

from __future__ import annotations

from argparse import Namespace
from collections import OrderedDict
from functools import cache, partial
from importlib import import_module
from typing import Any

import numpy as np

_DTYPES = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


class InertHistory:
    """Stands in for mmengine's log history: keeps its state, and has no method to call."""


class _InertConfig:
    """Stands in for the configuration that Swin's training saves: its content, as a dict."""

    def __new__(cls) -> OrderedDict[str, Any]:  # type: ignore[misc]
        """Make the one kind of dict with attributes that PyTorch's unpickler fills."""
        return OrderedDict()


def _posing_as(stand_in: Any, module: str, name: str) -> Any:
    """Give a stand-in the name in the files, by which PyTorch looks up allowed objects."""
    stand_in.__module__, stand_in.__name__, stand_in.__qualname__ = module, name, name
    return stand_in


@cache
def allowed_globals() -> list[Any]:
    """Objects that PyTorch's ``weights_only`` unpickler may build in addition to its own."""
    multiarray = import_module(
        "numpy._core.multiarray" if np.__version__ >= "2" else "numpy.core.multiarray"
    )
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
        *(type(np.dtype(name)) for name in _DTYPES),
        *rebuild,
        _posing_as(InertHistory, "mmengine.logging.history_buffer", "HistoryBuffer"),
        # A data set's metainfo may be mmengine's ConfigDict.
        _posing_as(partial(dict), "mmengine.config.config", "ConfigDict"),
        _posing_as(_InertConfig, "yacs.config", "CfgNode"),
        # By getattr a history names its methods; the real one would reach any code from any object.
        _posing_as(lambda *_: None, "builtins", "getattr"),
    ]
