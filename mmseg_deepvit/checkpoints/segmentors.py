"""Convert the weights of a file: a backbone alone, or a segmentor with its heads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from torch import Tensor

from .checkpoint import Checkpoint
from .conversion import Conversion, convert
from .key_maps import summarize_keys
from .loading import read_checkpoint
from .published_families import Family, find_family, has_marks, match_family

_HEADS = ("decode_head.", "auxiliary_head.")
_BACKBONE = "backbone."
_KINDS = {"trunk": "vision transformer", "swin": "Swin Transformer"}


def read_backbone(
    path: str | os.PathLike[str], target: Literal["trunk", "swin"], weights: str | None = None
) -> Conversion:
    """Read a backbone's weights in the names of their model.

    Args:
        path: Path or address, as :func:`~mmseg_deepvit.checkpoints.read_checkpoint` takes it.
        target: Model that takes them, as in
            :class:`~mmseg_deepvit.checkpoints.published_families.Family`.
        weights: Choice of :meth:`~mmseg_deepvit.checkpoints.Checkpoint.find_weights`.

    Raises:
        CheckpointError: The file cannot be read, or is for another model.
        ValueError: ``weights`` is no choice.
    """
    state = read_checkpoint(path).find_backbone(weights)
    family = find_family(state)
    if family.target != target:
        own, wanted = _KINDS[family.target], _KINDS[target]
        raise state.error(
            f"holds a {own} (family {family.name}) and the backbone is a {wanted}",
            f"give weights of a {wanted}, or set model.backbone.type",
        )
    return convert(state, family)


def convert_checkpoint(
    checkpoint: Checkpoint, family: Family | None = None, weights: str | None = None
) -> Conversion:
    """Convert a backbone, or a segmentor's backbone while its heads stay.

    Args:
        checkpoint: Content of the file.
        family: Family of the backbone; None for the first that fits the names.
        weights: Choice of :meth:`~mmseg_deepvit.checkpoints.Checkpoint.find_weights`.

    Returns:
        Weights in mmseg 1.x's names of a segmentor, or in a backbone's names without prefix. Old
        names are as in the file.

    Raises:
        CheckpointError: The file has no weights, or their family is unknown or another one.
    """
    found = checkpoint.find_weights(weights)
    prefix, backbone = found.split_backbone()
    if family is None:
        family = find_family(backbone)
    elif not has_marks(family, backbone):
        raise found.error(
            f"lacks the keys of family {family.name} (it holds "
            f"{summarize_keys(list(backbone)[:5])}, …)",
            "leave out --family, and the keys tell it",
        )
    conversion = convert(backbone, family)
    outer = prefix.removesuffix(_BACKBONE)
    others = {k: k.removeprefix(outer) for k in found if not k.startswith(prefix)}
    if any(name.startswith(_HEADS) for name in others.values()):
        return _with_heads(conversion, prefix, others, found)
    return _alone(conversion, prefix, others)


def _with_heads(
    conversion: Conversion, prefix: str, heads: dict[str, str], weights: Mapping[str, Tensor]
) -> Conversion:
    backbone = {_BACKBONE + new: value for new, value in conversion.state.items()}
    renamed = {prefix + old: _BACKBONE + new for old, new in conversion.renamed.items()}
    return replace(
        conversion,
        state=conversion.state.part(backbone | {new: weights[old] for old, new in heads.items()}),
        renamed=renamed | heads,
        dropped={prefix + old: why for old, why in conversion.dropped.items()},
        changed={_BACKBONE + new: what for new, what in conversion.changed.items()},
    )


def _alone(conversion: Conversion, prefix: str, others: Mapping[str, str]) -> Conversion:
    """The backbone alone, without Swin's index buffers, which fit one window size only."""
    state, renamed = conversion.state.part(conversion.state), {}
    dropped = {prefix + old: why for old, why in conversion.dropped.items()}
    for old, new in conversion.renamed.items():
        if new.endswith(".relative_position_index"):
            del state[new]
            dropped[prefix + old] = "made by the model"
        else:
            renamed[prefix + old] = new
    dropped |= dict.fromkeys(others, "not the backbone's")
    return replace(conversion, state=state, renamed=renamed, dropped=dropped)


def segmentor_state_dict(checkpoint: Checkpoint) -> Checkpoint:
    """The weights of a segmentor that a training run saved.

    Names that no model of mmseg has, such as those of Swin's repository, become mmseg 1.x's.

    Returns:
        Names, without the ``module.`` of distributed wrappers, and tensors.

    Raises:
        CheckpointError: The file has no weights, or tensors that no model can take.
    """
    weights = checkpoint.tensors(checkpoint.get("state_dict", checkpoint)).check_plain()
    if not weights:
        raise checkpoint.error("holds no state_dict", "give a file that training saved")
    state = weights.part({k.removeprefix("module."): v for k, v in weights.items()})
    family = match_family({k.removeprefix(_BACKBONE) for k in state if k.startswith(_BACKBONE)})
    if family is None or not family.segmentors:
        return state
    return convert_checkpoint(state, family).state
