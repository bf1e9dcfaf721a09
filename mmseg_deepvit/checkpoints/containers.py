"""Find the weights in the content of a file: their key, and the prefixes of their names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError

#: Keys under which published files hold their weights, the best first. timm's training (DeepViT)
#: measures the published accuracy on the moving average, ``state_dict_ema``. DeiT's training (DeiT,
#: CaiT, PatchVisionTransformer) measures it on the model, not on ``model_ema``.
CONTAINERS = ("state_dict_ema", "state_dict", "model", "model_ema", "teacher", "module")
#: Keys to look under where the user chooses.
CHOICES = {
    "ema": ("state_dict_ema", "model_ema", "teacher"),
    "model": ("state_dict", "model", "student", "module"),
}
PREFIXES = ("module.", "backbone.")


def find_weights(
    checkpoint: Mapping[str, Any], path: str | os.PathLike[str], weights: str | None = None
) -> dict[str, Tensor]:
    """Find all weights that a file holds.

    Args:
        checkpoint: Content of the file, from :func:`~mmseg_deepvit.checkpoints.read_checkpoint`.
        path: Path of the file, named in errors.
        weights: ``'ema'`` for the moving average, ``'model'`` for the model that it averages; None
            for the first of :data:`CONTAINERS`.

    Returns:
        Names, as in the file, and tensors.

    Raises:
        CheckpointError: The file has no such weights, or tensors that no model can take.
        ValueError: ``weights`` is no choice.
    """
    if weights is not None and weights not in CHOICES:
        raise ValueError(f"weights must be one of {', '.join(CHOICES)} or None, got {weights!r}")
    places = list(_places(checkpoint, weights))
    tensors = (_tensors(checkpoint.get(key, {}) if key else checkpoint) for key in places)
    state = next((found for found in tensors if found), {})
    if not state:
        held = ", ".join(map(str, list(checkpoint)[:6])) or "nothing"
        sought = ", ".join(key or "at the top" for key in places)
        what = {"ema": " of a moving average", "model": " but of a moving average"}
        raise CheckpointError(
            f"checkpoint {path} holds no weights{what.get(weights or '', '')} (found: {held}): "
            f"they are looked for under {sought}; save model.state_dict()"
        )
    check_plain(state, path)
    return state


def _places(checkpoint: Mapping[str, Any], weights: str | None) -> Iterator[str]:
    """Keys to look under, the best first; an empty key is the mapping itself."""
    if weights and "ema_state_dict" in checkpoint:
        # mmengine's EMAHook exchanges the two when it saves.
        yield "state_dict" if weights == "ema" else "ema_state_dict"
        return
    yield from CHOICES[weights] if weights else CONTAINERS
    if weights != "ema":
        yield ""


def _tensors(mapping: Any) -> dict[str, Tensor]:
    if not isinstance(mapping, Mapping):
        return {}
    return {k: v for k, v in mapping.items() if isinstance(k, str) and isinstance(v, Tensor)}


def check_plain(state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Raise CheckpointError if a tensor is sparse, quantised, nested or without values."""
    for name, value in state.items():
        if kind := _special_kind(value):
            raise CheckpointError(
                f"checkpoint {path} holds a {kind} tensor ({name}), and models here take plain "
                "ones: save the weights dense, in floating point"
            )


def _special_kind(value: Tensor) -> str | None:
    if value.is_meta:
        return "meta (empty)"
    if value.is_quantized:
        return "quantised"
    if value.is_nested:
        return "nested"
    return "sparse" if value.layout != torch.strided else None


def find_state_dict(
    checkpoint: Mapping[str, Any], path: str | os.PathLike[str], weights: str | None = None
) -> dict[str, Tensor]:
    """Find the backbone's weights in the content of a file.

    Arguments and errors are those of :func:`find_weights`. Prefixes of wrappers and segmentors are
    taken off the names; of a segmentor only the ``backbone.`` part is kept.
    """
    return split_backbone(find_weights(checkpoint, path, weights))[1]


def split_backbone(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Split off the prefix of the backbone's names: the prefix, and the weights without it."""
    joined, state = "", dict(weights)
    while True:
        for prefix in PREFIXES:
            inner = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            if inner:
                joined, state = joined + prefix, inner
                break
        else:
            return joined, state
