"""Read a backbone's weights from any file or address, in the names of their model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from ..errors import CheckpointError
from .containers import find_state_dict
from .conversion import Conversion, convert
from .loading import read_checkpoint
from .normalization import SATELLITE, saved_normalization
from .published_families import find_family
from .timm_hub import TIMM_SCHEME, timm_normalization

_KINDS = {"trunk": "vision transformer", "swin": "Swin Transformer"}


def read_backbone(
    path: str | os.PathLike[str], target: Literal["trunk", "swin"], weights: str | None = None
) -> Conversion:
    """Read the weights of a backbone.

    Args:
        path: Path or address, as :func:`~mmseg_deepvit.checkpoints.read_checkpoint` takes it.
        target: Model that takes them, as in
            :class:`~mmseg_deepvit.checkpoints.published_families.Family`.
        weights: Choice of :func:`~mmseg_deepvit.checkpoints.containers.find_weights`.

    Returns:
        The weights in the target's names.

    Raises:
        CheckpointError: The file cannot be read, or is for another model.
        ValueError: ``weights`` is no choice.
    """
    content = read_checkpoint(path)
    state = find_state_dict(content, path, weights)
    family = find_family(state, path)
    if family.target != target:
        own, wanted = _KINDS[family.target], _KINDS[target]
        raise CheckpointError(
            f"checkpoint {path} holds a {own} (family {family.name}) and the backbone is a "
            f"{wanted}: give weights of a {wanted}, or set model.backbone.type"
        )
    return with_normalization(convert(state, family, path), content, path)


def with_normalization(
    conversion: Conversion, checkpoint: Mapping[str, Any], path: str | os.PathLike[str]
) -> Conversion:
    """Replace a family's normalisation by the one that ``timm://NAME`` or the file tells."""
    told = saved_normalization(checkpoint) or conversion.normalization
    if str(path).startswith(TIMM_SCHEME):
        told = timm_normalization(str(path))
    elif conversion.family.rotary == "dinov3" and "sat493m" in os.path.basename(path):
        told = SATELLITE  # whose weights have the names of all DINOv3's
    return replace(conversion, normalization=told)
