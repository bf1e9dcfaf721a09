"""Read a backbone's weights from any file or address, in the names of their model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from ..errors import CheckpointError
from .config_literals import read_setting
from .containers import find_state_dict
from .conversion import Conversion, convert
from .loading import read_checkpoint
from .normalization import SATELLITE, saved_normalization
from .published_families import FAMILIES, find_family
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
    conversion = with_normalization(convert(state, family, path), content, path)
    return replace(conversion, rotary=conversion.rotary or saved_rotary(content))


def saved_rotary(checkpoint: Mapping[str, Any]) -> str | None:
    """Rotary positions of the model that a file was saved or converted from, or None.

    Args:
        checkpoint: Content of the file. A converted one names its family, one of a training run has
            the config.
    """
    meta = checkpoint.get("meta")
    if not isinstance(meta, Mapping):
        return None
    published = [family.rotary for family in FAMILIES if family.name == meta.get("family")]
    if published:
        return published[0]
    model = read_setting(meta.get("cfg"), "model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    rope = backbone.get("rope") if isinstance(backbone, dict) else None
    name = rope.get("type") if isinstance(rope, dict) else rope
    return name if isinstance(name, str) else None


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
