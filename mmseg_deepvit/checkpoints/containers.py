"""Find the weights in what a file holds: under which key, behind which prefixes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import CheckpointError

#: Keys under which published files hold their weights, the best first: an exponential moving
#: average is what the published accuracy was measured with.
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher", "module")
PREFIXES = ("module.", "backbone.")


def find_weights(checkpoint: Mapping[str, Any], path: str | os.PathLike) -> dict[str, Tensor]:
    """Find all weights that a file holds.

    Args:
        checkpoint: What :func:`~mmseg_deepvit.checkpoints.read_checkpoint` returned.
        path: Named in errors.

    Returns:
        Names and tensors of the first of :data:`CONTAINERS` that holds any, or of the mapping
        itself; a new dict, names as in the file.

    Raises:
        CheckpointError: There are no weights in it.
    """
    places = (checkpoint.get(key) for key in CONTAINERS)
    tensors = (_tensors(place) for place in (*places, checkpoint) if isinstance(place, Mapping))
    state = next((found for found in tensors if found), {})
    if not state:
        held = ", ".join(map(str, list(checkpoint)[:6])) or "nothing"
        raise CheckpointError(
            f"checkpoint {path} holds no weights (found: {held}): they are looked for under "
            f"{', '.join(CONTAINERS)}, or at the top"
        )
    return state


def _tensors(mapping: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {k: v for k, v in mapping.items() if isinstance(k, str) and isinstance(v, Tensor)}


def find_state_dict(checkpoint: Mapping[str, Any], path: str | os.PathLike) -> dict[str, Tensor]:
    """Find the backbone's weights in what a file holds.

    Takes the first of :data:`CONTAINERS` that holds any (or the mapping itself), strips the
    prefixes of wrappers and segmentors from the names, and keeps the ``backbone.`` part of a
    segmentor alone.

    Args:
        checkpoint: What :func:`~mmseg_deepvit.checkpoints.read_checkpoint` returned.
        path: Named in errors.

    Returns:
        Names and tensors, a new dict.

    Raises:
        CheckpointError: There are no weights in it.
    """
    return split_backbone(find_weights(checkpoint, path))[1]


def split_backbone(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The prefix that the backbone's names have in a file, and its weights without the prefix."""
    whole, state = "", dict(weights)
    while True:
        for prefix in PREFIXES:
            inner = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            if inner:
                whole, state = whole + prefix, inner
                break
        else:
            return whole, state
