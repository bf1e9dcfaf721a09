"""Which published family a file belongs to, told by its keys, and its weights in our names.

The first of :data:`FAMILIES` all of whose marks are found in a file is the file's: those with parts
of their own stand before those of which a file shows no more than the common ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..errors import CheckpointError
from .key_maps import (
    CAIT,
    DEEPVIT,
    DINOV2,
    DIVERSE_PATCH,
    MMPRETRAIN_VIT,
    MMSEG_VIT,
    VIT,
    Drop,
    KeyMap,
    mix_matrix,
    rename_key,
    summarize_keys,
)


@dataclass(frozen=True)
class ValueChange:
    """What is done to the values of some tensors."""

    pattern: str  #: of whole new names
    function: Callable[[Tensor], Tensor]  #: gives back the same object where nothing is to be done
    what: str  #: what was done, for people


@dataclass(frozen=True)
class Family:
    """Files that share their parameter names.

    Attributes:
        name: One word, as ``tools/convert_checkpoint.py --family`` takes it.
        reference: Whose files they are.
        target: The model whose names they get: our ``trunk`` (DeepViT, DiversePatchViT, CaiT), or
            ``swin``, mmseg's SwinTransformer.
        marks: Patterns; each matches some whole name of every file of the family.
        key_map: New names, and what is left out.
        changes: Values that are laid out in another way.
        segmentors: Whole segmentors come in these names, and no model of mmseg or ours has them.
    """

    name: str
    reference: str
    target: Literal["trunk", "swin"]
    marks: tuple[str, ...]
    key_map: KeyMap
    changes: tuple[ValueChange, ...] = ()
    segmentors: bool = False


_MIXES = (ValueChange(r".+\.(pre|post)_mix\.weight", mix_matrix, "1×1 convolution to a matrix"),)

FAMILIES: tuple[Family, ...] = (
    Family(
        "dvit_repo",
        "zhoudaquan/dvit_repo: DeepViT",
        "trunk",
        (r"blocks\.\d+\.attn\.reatten_matrix\.weight",),
        DEEPVIT,
        _MIXES,
        segmentors=True,
    ),
    Family(
        "patch_vit",
        "ChengyueGongR/PatchVisionTransformer: ViTs that mix heads",
        "trunk",
        (r"blocks\.\d+\.attn\.proj_(pre|post)\.weight",),
        DIVERSE_PATCH,
        _MIXES,
        segmentors=True,
    ),
    Family(
        "cait",
        "facebookresearch/deit, timm: CaiT",
        "trunk",
        (r"blocks\.\d+\.attn\.proj_[lw]\.weight",),
        CAIT,
        _MIXES,
        segmentors=True,
    ),
    Family(
        "ours",
        "this package's DeepViT, DiversePatchViT and CaiT",
        "trunk",
        (r"blocks\.\d+\.attn\.(pre_mix|post_mix|mix_norm)\..+",),
        VIT,
    ),
    Family(
        "dinov2",
        "facebookresearch/dinov2",
        "trunk",
        (
            r"register_tokens|mask_token|blocks\.\d+\.\d+\.norm1\.weight",
            r"blocks\.(\d+\.)?\d+\.ls1\.gamma",
        ),
        DINOV2,
    ),
    Family(
        "mae",
        "facebookresearch/mae, with its decoder",
        "trunk",
        (r"decoder_blocks\..+", r"blocks\.\d+\.attn\.qkv\.weight"),
        VIT,
    ),
    Family(
        "vit",
        "timm, facebookresearch/deit, dino and mae: ViT, DeiT, DeiT-III, augreg, DINO, MAE",
        "trunk",
        (r"blocks\.\d+\.attn\.qkv\.weight", r"patch_embed\.proj\.weight"),
        VIT,
    ),
    Family(
        "mmseg_vit",
        "mmseg: VisionTransformer",
        "trunk",
        (r"layers\.\d+\.attn\.attn\.in_proj_weight", r"patch_embed\.projection\.weight"),
        MMSEG_VIT,
    ),
    Family(
        "mmpretrain_vit",
        "mmpretrain: VisionTransformer",
        "trunk",
        (
            r"layers\.\d+\.attn\.qkv\.weight",
            r"layers\.\d+\.ffn\.layers\.0\.0\.weight",
            r"patch_embed\.projection\.weight",
        ),
        MMPRETRAIN_VIT,
    ),
)

#: What other vision transformers have and ours have not, in our names: without it a model would
#: compute something else than it was trained to.
_FOREIGN_PARTS = (
    (r"blocks\.\d+\..*(w12|w3|fc1_[gx])\..+", "gated MLPs (SwiGLU)"),
    (r"blocks\.\d+\.attn\.[qk]_norm\..+", "norms of queries and keys"),
    (r"blocks\.\d+\.attn\.([qv]_bias|q_proj\..+)", "queries, keys and values apart"),
    (r"(.+\.)?(relative_position_bias_table|rel_pos_\w+)", "relative positions"),
    (r"norm_pre\..+|ln_pre\..+|pre_norm\..+", "a norm before the first block"),
)


@dataclass(frozen=True)
class Conversion:
    """Weights in our names, and what became of each key of the file.

    Attributes:
        family: The family they were taken for.
        state: New names and tensors.
        renamed: Old names and new ones, of all that is kept; most families keep many names.
        dropped: Old names and why they are left out.
        changed: New names and what was done to their values.
    """

    family: Family
    state: dict[str, Tensor]
    renamed: dict[str, str]
    dropped: dict[str, str]
    changed: dict[str, str]


def find_family(state: Mapping[str, Tensor], path: str | os.PathLike) -> Family:
    """Tell the family of a backbone's weights by their names.

    Args:
        state: Names and tensors, as :func:`~mmseg_deepvit.checkpoints.find_state_dict` gives them.
        path: The file, named in errors.

    Returns:
        The first family whose marks are all there.

    Raises:
        CheckpointError: They are no family's.
    """
    for family in FAMILIES:
        if all(_first_match(mark, state) for mark in family.marks):
            return family
    raise CheckpointError(
        f"checkpoint {path} is of no family that is known (it holds "
        f"{summarize_keys(list(state)[:5])}, …): give weights of {_names()}"
    )


def get_family(name: str) -> Family:
    """The family of a name.

    Raises:
        CheckpointError: There is none.
    """
    for family in FAMILIES:
        if family.name == name:
            return family
    raise CheckpointError(f"{name} is no family of checkpoints: give one of {_names()}")


def _names() -> str:
    return ", ".join(family.name for family in FAMILIES)


def convert(state: Mapping[str, Tensor], family: Family, path: str | os.PathLike) -> Conversion:
    """Give a backbone's weights the names, and the layout, of their target.

    Class and register positions inside ``pos_embed``, and its grid, stay as they are.

    Args:
        state: Names and tensors, as :func:`~mmseg_deepvit.checkpoints.find_state_dict` gives them.
        family: The family they are of.
        path: The file, named in errors.

    Returns:
        The weights, which share memory with ``state`` where their values are as they were.

    Raises:
        CheckpointError: Two keys get one name, or the file has parts that the target has not.
    """
    conversion = Conversion(family, {}, {}, {}, {})
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
    if family.target == "trunk":
        _check_parts(conversion.state, path)
    return conversion


def _change(name: str, value: Tensor, conversion: Conversion) -> Tensor:
    for change in conversion.family.changes:
        if re.fullmatch(change.pattern, name):
            changed = change.function(value)
            if changed is not value:
                conversion.changed[name] = change.what
            return changed
    return value


def _check_parts(state: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    if "pos_embed" not in state:
        raise CheckpointError(
            f"checkpoint {path} has no pos_embed, so its positions are rotary or relative, which "
            "our backbones have not: give weights of a plain vision transformer"
        )
    for pattern, meaning in _FOREIGN_PARTS:
        key = _first_match(pattern, state)
        if key:
            raise CheckpointError(
                f"checkpoint {path} has {meaning} ({key}), which our backbones have not: give "
                "weights of a plain vision transformer"
            )


def _first_match(pattern: str, keys: Iterable[str]) -> str | None:
    return next((key for key in keys if re.fullmatch(pattern, key)), None)
