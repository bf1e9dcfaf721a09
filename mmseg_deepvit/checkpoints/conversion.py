"""Convert the weights of a published family to the names and layout of their target model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .checkpoint import Checkpoint
from .config_literals import read_setting
from .joining import join_parts
from .key_maps import Drop, rename_key
from .normalization import SATELLITE, Normalization, saved_normalization
from .published_families import FAMILIES, Family, first_match
from .timm_hub import TIMM_SCHEME, timm_normalization

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
    state: Checkpoint
    renamed: dict[str, str]
    dropped: dict[str, str]
    changed: dict[str, str]
    normalization: Normalization | None
    rotary: str | None


def convert(weights: Checkpoint, family: Family) -> Conversion:
    """Give a backbone's weights the names and the layout of their target.

    ``pos_embed`` keeps its grid and its positions of class and register tokens.

    Args:
        weights: Names and tensors.
        family: Family of the weights.

    Returns:
        The weights. Unchanged values share memory with ``weights``.

    Raises:
        CheckpointError: Two keys get one name, or the file has parts that the target lacks.
    """
    state = weights.part({})
    renamed: dict[str, str] = {}
    dropped: dict[str, str] = {}
    changed: dict[str, str] = {}
    for key, value in weights.items():
        new = rename_key(key, family.key_map)
        if isinstance(new, Drop):
            dropped[key] = new.why
            continue
        if new in state:
            raise weights.error(
                f"is no file of family {family.name}, {key} and another key are both {new}",
                "give the file's own family",
            )
        renamed[key] = new
        state[new] = value
        change = next((c for c in family.changes if re.fullmatch(c.pattern, new)), None)
        if change and (other := change.function(value)) is not value:
            state[new], changed[new] = other, change.what
    for whole, (parts, what) in join_parts(state, family.joins).items():
        changed[whole] = what
        renamed |= {old: whole for old, new in renamed.items() if new in parts}
    if family.target == "trunk":
        _check_parts(state)
    normalization = _normalization(family, weights)
    rotary = _rotary(family, state)
    return Conversion(family, state, renamed, dropped, changed, normalization, rotary)


def _normalization(family: Family, weights: Checkpoint) -> Normalization | None:
    """What ``timm://NAME`` tells, or the file, or its family."""
    if weights.path.startswith(TIMM_SCHEME):
        return timm_normalization(weights.path)
    if family.rotary == "dinov3" and "sat493m" in weights.path:
        return SATELLITE  # whose weights have the names of all DINOv3's
    return saved_normalization(weights) or family.normalization(weights)


def _rotary(family: Family, state: Checkpoint) -> str | None:
    """Rotary positions of the family, or of the model that a file was saved or converted from."""
    # EVA without gated MLPs may have them or not.
    if family.rotary and (family.rotary != "eva02" or _has_gated_mlps(state)):
        return family.rotary
    published = [known.rotary for known in FAMILIES if known.name == state.meta.get("family")]
    if published:
        return published[0]
    model = read_setting(state.meta.get("cfg"), "model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    rope = backbone.get("rope") if isinstance(backbone, dict) else None
    name = rope.get("type") if isinstance(rope, dict) else rope
    return name if isinstance(name, str) else None


def _has_gated_mlps(state: Checkpoint) -> bool:
    first, last = (f"blocks.0.mlp.{name}.weight" for name in ("fc1", "fc2"))
    known = first in state and last in state
    return not known or state[first].shape[0] == 2 * state[last].shape[1]


def _check_parts(state: Checkpoint) -> None:
    for pattern, meaning in _FOREIGN_PARTS:
        if key := first_match(pattern, state):
            raise state.error(
                f"has {meaning} ({key}), which our backbones lack",
                "give weights of a plain vision transformer",
            )
