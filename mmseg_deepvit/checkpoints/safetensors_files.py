"""Safetensors files: weights without any code, with classes, palette and config as metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError, reason

#: Key of ``meta``, as JSON, in the file's metadata, which is a map of strings.
META_KEY = "mmseg_deepvit"


def read_safetensors(path: Path, named: str) -> dict[str, Any]:
    """Read a safetensors file.

    Args:
        path: Path of the file.
        named: Name of the file in errors.

    Returns:
        ``state_dict`` and ``meta`` if :func:`save_safetensors` wrote them; else names and tensors.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        state = load_file(path)
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get(META_KEY)
        meta = None if written is None else json.loads(written)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"checkpoint {named} is damaged or not a safetensors file ({reason(error)}); "
            "download or save it again"
        ) from error
    return {"state_dict": state, "meta": meta} if isinstance(meta, dict) else state


def save_safetensors(
    path: str | os.PathLike[str], state: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> None:
    """Write weights and their metadata as safetensors.

    Args:
        path: Path of the file.
        state: Names and tensors. Tensors that share memory are written separately.
        meta: Plain data, such as ``dataset_meta`` (classes and palette) and ``cfg``, a text.

    Raises:
        ValueError: The format does not know the kind of ``meta`` or of a tensor.
        OSError: The file cannot be written.
    """
    text = json.dumps(meta, default=lambda array: array.tolist())
    alone = {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()
    }
    try:
        save_file(alone, path, metadata={"format": "pt", META_KEY: text})
    except KeyError as error:  # an unknown dtype
        raise ValueError(f"safetensors hold no {error}") from error
    except SafetensorError as error:
        raise OSError(str(error)) from error
