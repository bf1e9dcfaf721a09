"""Convert the weights of a published family to the names and layout of their target model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from ..errors import CheckpointError
from .joining import join_parts
from .key_maps import Drop, rename_key
from .normalization import Normalization
from .published_families import Family, first_match

#: Parts of other vision transformers, in our names. Our models lack them and would compute another
#: function without them, so a file that has one is refused.
_FOREIGN_PARTS = (
    (r"blocks\.\d+\..*(w12|w3|fc1_[gx])\..+", "gated MLPs"),
    (r"blocks\.\d+\.attn\.[qk]_norm\..+", "norms of queries and keys"),
    (r"blocks\.\d+\.attn\.([qv]_bias|q_proj\..+)", "queries, keys and values apart"),
    (r"blocks\.\d+\.attn\.(norm|inner_attn_ln)\..+", "a norm inside attention"),
    (r"(.+\.)?(relative_position_bias_table|rel_pos[._].+)", "relative positions"),
    (r"ln_pre\..+|pre_norm\..+", "a norm before the first block"),
)


@dataclass(frozen=True)
class Conversion:
    """Weights in their target's names, with a record of every key of the file.

    Attributes:
        family: Family of the file.
        state: New names and tensors.
        renamed: Old and new names of all tensors that are kept.
        dropped: Old names, and why they are left out.
        changed: New names, and the changes to their values.
        normalization: Normalisation of the training images; None where it is not known.
        rotary: Convention of the rotary positions, as a trunk's ``rope`` names it; None where there
            are none or they are not known.
    """

    family: Family
    state: dict[str, Tensor]
    renamed: dict[str, str]
    dropped: dict[str, str]
    changed: dict[str, str]
    normalization: Normalization | None = None
    rotary: str | None = None


def convert(
    state: Mapping[str, Tensor], family: Family, path: str | os.PathLike[str]
) -> Conversion:
    """Give a backbone's weights the names and the layout of their target.

    ``pos_embed`` keeps its grid and its positions of class and register tokens.

    Args:
        state: Names and tensors, from :func:`~mmseg_deepvit.checkpoints.find_state_dict`.
        family: Family of the weights.
        path: Path of the file, named in errors.

    Returns:
        The weights, with the family's normalisation. Unchanged values share memory with ``state``.

    Raises:
        CheckpointError: Two keys get one name, or the file has parts that the target lacks.
    """
    conversion = Conversion(family, {}, {}, {}, {}, family.normalization(state))
    for key, value in state.items():
        new = rename_key(key, family.key_map)
        if isinstance(new, Drop):
            conversion.dropped[key] = new.why
            continue
        if new in conversion.state:
            raise CheckpointError(
                f"checkpoint {path} is no file of family {family.name}: {key} and another key are "
                f"both {new}; give the file's own family"
            )
        conversion.renamed[key] = new
        conversion.state[new] = _change(new, value, conversion)
    _join(conversion, path)
    if family.target == "trunk":
        _check_parts(conversion.state, path)
    return replace(conversion, rotary=_rotary(family, conversion.state))


def _change(name: str, value: Tensor, conversion: Conversion) -> Tensor:
    for change in conversion.family.changes:
        if re.fullmatch(change.pattern, name):
            changed = change.function(value)
            if changed is not value:
                conversion.changed[name] = change.what
            return changed
    return value


def _join(conversion: Conversion, path: str | os.PathLike[str]) -> None:
    for whole, (parts, what) in join_parts(conversion.state, conversion.family.joins, path).items():
        conversion.changed[whole] = what
        for old, new in conversion.renamed.items():
            if new in parts:
                conversion.renamed[old] = whole


def _rotary(family: Family, state: Mapping[str, Tensor]) -> str | None:
    """The family's rotary positions; EVA without gated MLPs may have them or not."""
    layers = [state.get(f"blocks.0.mlp.{name}.weight") for name in ("fc1", "fc2")]
    if family.rotary == "eva02" and layers[0] is not None and layers[1] is not None:
        return family.rotary if layers[0].shape[0] == 2 * layers[1].shape[1] else None
    return family.rotary


def _check_parts(state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    for pattern, meaning in _FOREIGN_PARTS:
        key = first_match(pattern, state)
        if key:
            raise CheckpointError(
                f"checkpoint {path} has {meaning} ({key}), which our backbones lack: give "
                "weights of a plain vision transformer"
            )
