"""onnxruntime, and the names and limits of the ONNX files that ``tools/export.py`` writes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError

#: Limit of protobuf, and so of a single ONNX file.
MAX_ONNX_BYTES = 2 * 2**30
INPUT, OUTPUT = "images", "logits"


def require(*names: str) -> list[Any]:
    """Import modules that only exported files need.

    Raises:
        UserError: One is not installed.
    """
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        raise UserError(
            f"{error.name or names[0]} is not installed; pip install 'mmseg_deepvit[export]'"
        ) from error


def run_of(session: Any) -> Callable[[Tensor], Tensor]:
    """Function from images to logits of an onnxruntime session."""
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
