"""Convert the weights of a file: a backbone alone, or a segmentor with its heads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from .backbone_files import with_normalization
from .containers import check_plain, find_weights, split_backbone
from .conversion import Conversion, convert
from .key_maps import summarize_keys
from .published_families import Family, find_family, has_marks, match_family

_HEADS = ("decode_head.", "auxiliary_head.")
_BACKBONE = "backbone."


def convert_checkpoint(
    checkpoint: Mapping[str, Any],
    path: str | os.PathLike[str],
    family: Family | None = None,
    weights: str | None = None,
) -> Conversion:
    """Convert a backbone, or a segmentor's backbone while its heads stay.

    Args:
        checkpoint: Content of the file, from :func:`~mmseg_deepvit.checkpoints.read_checkpoint`.
        path: Path of the file, named in errors.
        family: Family of the backbone; None for the first that fits the names.
        weights: Choice of :func:`~mmseg_deepvit.checkpoints.containers.find_weights`.

    Returns:
        Weights in mmseg 1.x's names of a segmentor, or in a backbone's names without prefix. Old
        names are as in the file.

    Raises:
        CheckpointError: The file has no weights, or their family is unknown or another one.
    """
    found = find_weights(checkpoint, path, weights)
    prefix, backbone = split_backbone(found)
    if family is None:
        family = find_family(backbone, path)
    elif not has_marks(family, backbone):
        raise CheckpointError(
            f"checkpoint {path} lacks the keys of family {family.name} (it holds "
            f"{summarize_keys(list(backbone)[:5])}, …): leave out --family, and the keys tell it"
        )
    conversion = with_normalization(convert(backbone, family, path), checkpoint, path)
    others = {k: v for k, v in found.items() if not k.startswith(prefix)}
    outer = prefix.removesuffix(_BACKBONE)
    if any(k.removeprefix(outer).startswith(_HEADS) for k in others):
        return _with_heads(conversion, prefix, {k.removeprefix(outer): k for k in others}, found)
    return _alone(conversion, prefix, others)


def _with_heads(
    conversion: Conversion, prefix: str, heads: dict[str, str], weights: Mapping[str, Tensor]
) -> Conversion:
    return replace(
        conversion,
        state={_BACKBONE + new: value for new, value in conversion.state.items()}
        | {new: weights[old] for new, old in heads.items()},
        renamed={prefix + old: _BACKBONE + new for old, new in conversion.renamed.items()}
        | {old: new for new, old in heads.items()},
        dropped={prefix + old: why for old, why in conversion.dropped.items()},
        changed={_BACKBONE + new: what for new, what in conversion.changed.items()},
    )


def _alone(conversion: Conversion, prefix: str, others: Mapping[str, Tensor]) -> Conversion:
    """The backbone alone, without Swin's index buffers, which fit one window size only."""
    made = {k for k in conversion.state if k.endswith(".relative_position_index")}
    renamed = {prefix + old: new for old, new in conversion.renamed.items() if new not in made}
    dropped = {prefix + old: why for old, why in conversion.dropped.items()}
    dropped |= {
        prefix + old: "made by the model" for old, new in conversion.renamed.items() if new in made
    }
    dropped |= dict.fromkeys(others, "not the backbone's")
    state = {k: v for k, v in conversion.state.items() if k not in made}
    return replace(conversion, state=state, renamed=renamed, dropped=dropped)


def segmentor_state_dict(
    checkpoint: Mapping[str, Any], path: str | os.PathLike[str]
) -> dict[str, Tensor]:
    """The weights of a segmentor that a training run saved.

    Names that no model of mmseg has, such as those of Swin's repository, become mmseg 1.x's.

    Args:
        checkpoint: Content of the file, from :func:`~mmseg_deepvit.checkpoints.read_checkpoint`.
        path: Path of the file, named in errors.

    Returns:
        Names, without the ``module.`` of distributed wrappers, and tensors.

    Raises:
        CheckpointError: The file has no weights.
    """
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, Mapping) or not any(isinstance(v, Tensor) for v in weights.values()):
        raise CheckpointError(
            f"checkpoint {path} holds no state_dict: give a file that training saved"
        )
    state = {
        k.removeprefix("module."): v
        for k, v in weights.items()
        if isinstance(k, str) and isinstance(v, Tensor)
    }
    check_plain(state, path)
    family = match_family({k.removeprefix(_BACKBONE) for k in state if k.startswith(_BACKBONE)})
    if family is None or not family.segmentors:
        return state
    return convert_checkpoint(state, path, family).state
