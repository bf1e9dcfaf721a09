"""Safetensors: weights without any code, with class names and palette beside them."""

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

from ..errors import CheckpointError

#: The key of the file's metadata, a map of strings, under which ``meta`` stands as JSON.
META_KEY = "mmseg_deepvit"


def read_safetensors(path: Path, named: str) -> dict[str, Any]:
    """Read a safetensors file.

    Args:
        path: The file.
        named: What errors call it.

    Returns:
        ``state_dict`` and ``meta`` as training saves them, if :func:`save_safetensors` wrote the
        file with ``meta``; else names and tensors.

    Raises:
        CheckpointError: It is damaged.
    """
    try:
        state = load_file(path)
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get(META_KEY)
        meta = None if written is None else json.loads(written)
    except (SafetensorError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise CheckpointError(
            f"checkpoint {named} is damaged or not a safetensors file ({said}): download or save "
            "it again"
        ) from error
    return {"state_dict": state, "meta": meta} if isinstance(meta, dict) else state


def save_safetensors(
    path: str | os.PathLike[str], state: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> None:
    """Write weights, and what belongs to them, as safetensors.

    Args:
        path: The file.
        state: Names and tensors; those that share memory are written each by itself.
        meta: Plain data, ``dataset_meta`` with classes and palette above all.

    Raises:
        ValueError: ``meta`` or a tensor is of a kind that the format has not.
        OSError: The file cannot be written.
    """
    text = json.dumps(meta, default=lambda array: array.tolist())
    alone = {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()
    }
    try:
        save_file(alone, path, metadata={"format": "pt", META_KEY: text})
    except KeyError as error:  # a dtype that it does not know
        raise ValueError(f"safetensors hold no {error}") from error
    except SafetensorError as error:
        raise OSError(str(error)) from error
