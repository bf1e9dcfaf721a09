"""Attributes of a backbone before it runs: blocks, prefix tokens, patch size, width."""

from __future__ import annotations

import difflib
import math
from typing import Any

from timm.layers import to_2tuple
from torch import Tensor, nn

from ..backbones.block import is_batch_norm
from ..weights.warm_start import map_norms

#: One of a backbone's outputs by its index, or one of its submodules by its dotted name.
Source = int | str

#: Modules that hold blocks.
_LISTS = (nn.ModuleList, nn.Sequential)
#: Number of names in a message.
_NUM_SUGGESTIONS = 5


def check_source(backbone: nn.Module, source: Source) -> None:
    """Raise an error unless a backbone has a submodule of a name.

    Args:
        backbone: Any module.
        source: Name of a submodule; an index is not checked before the backbone runs.

    Raises:
        ValueError: The backbone has no such submodule. The message suggests names of similar
            spelling, then names of blocks.
    """
    names = [name for name, _ in backbone.named_modules() if name]
    if isinstance(source, str) and source not in names:
        alike = difflib.get_close_matches(source, names)
        likeness = {
            n: difflib.SequenceMatcher(a=source, b=n).ratio() for n in block_names(backbone)
        }
        blocks = sorted(likeness, key=lambda name: -likeness[name])
        nearest = list(dict.fromkeys([*alike, *blocks])) or names
        raise ValueError(
            f"{type(backbone).__name__} has no submodule {source!r}; name one that it has, nearest "
            f"first {', '.join(map(repr, nearest[:_NUM_SUGGESTIONS]))}"
        )


def block_names(backbone: nn.Module) -> list[str]:
    """Names of a backbone's blocks and stages, in its order.

    A member of a list counts as a block where it has submodules and the list has one type of
    members.
    """
    return [
        f"{name}.{i}"
        for name, parent in backbone.named_modules()
        if isinstance(parent, _LISTS) and len({type(child) for child in parent}) == 1
        for i, child in enumerate(parent)
        if not isinstance(child, _LISTS) and any(child.children())
    ]


def sibling_blocks(backbone: nn.Module) -> tuple[str, str] | None:
    """Names of the first and the last block of the last list of two or more; None without one."""
    lists: dict[str, list[str]] = {}
    for name in block_names(backbone):
        lists.setdefault(name.rpartition(".")[0], []).append(name)
    several = [names for names in lists.values() if len(names) > 1]
    return (several[-1][0], several[-1][-1]) if several else None


def count_prefix_tokens(backbone: nn.Module) -> int:
    """Number of a backbone's tokens before those of the patches: class token and registers."""
    if isinstance(count := getattr(backbone, "num_prefix_tokens", None), int):
        return count
    has_one = getattr(backbone, "with_cls_token", isinstance(_class_token(backbone), Tensor))
    return int(bool(has_one))


def normalizes_maps(module: nn.Module) -> bool:
    """Whether BatchNorms of attention maps tie a model to the number of tokens in training."""
    return any(is_batch_norm(norm) for norm in map_norms(module).values())


def count_norm_tokens(backbone: nn.Module, crop: tuple[int, int]) -> int | None:
    """Number of tokens that the BatchNorms of the maps belong to.

    Args:
        backbone: Any module.
        crop: Height and width of the training crop, in pixels.

    Returns:
        Number of prefix tokens and patches of the crop; None without a BatchNorm of maps.
    """
    if not normalizes_maps(backbone):
        return None
    height, width = map(int, to_2tuple(backbone.patch_size))
    return count_prefix_tokens(backbone) + -(-crop[0] // height) * -(-crop[1] // width)


def find_patch_size(
    backbone: nn.Module, grid: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int] | None:
    """Patch size of a backbone, if it leads to a grid.

    Args:
        backbone: Any module, with or without a ``patch_size``.
        grid: Grid (h, w) of the tokens.
        size: Height and width of the images, in pixels.

    Returns:
        Height and width of a patch in pixels; None where they are unknown or lead to another grid.
    """
    sides = to_2tuple(getattr(backbone, "patch_size", 0))
    if all(isinstance(p, int) and p > 0 for p in sides):
        height, width = map(int, sides)
        if grid == (math.ceil(size[0] / height), math.ceil(size[1] / width)):
            return height, width
    return None


def find_width(backbone: nn.Module, source: Source) -> int | None:
    """Width of the tokens of a source, as far as it is known before the backbone runs.

    Args:
        backbone: One of ours, mmseg's ``VisionTransformer`` or ``SwinTransformer``, or one with the
            same attributes.
        source: Index of an output, or name of a submodule.

    Returns:
        Width C, or None where it is unknown.
    """
    token = _class_token(backbone)
    if isinstance(token, Tensor):
        return token.shape[-1]  # with a class token, all layers have one width
    if isinstance(source, str):
        module = backbone.get_submodule(source)
        norms = [m for m in (module, *module.children()) if isinstance(m, nn.LayerNorm)]
        widths = {math.prod(norm.normalized_shape) for norm in norms}
        if len(widths) == 1:
            return widths.pop()
    per_stage = getattr(backbone, "num_features", None)
    if isinstance(per_stage, (list, tuple)):
        indices = tuple(getattr(backbone, "out_indices", range(len(per_stage))))
        if isinstance(source, str) or not -len(indices) <= source < len(indices):
            return None
        width = per_stage[indices[source]]
        return width if isinstance(width, int) else None
    width = getattr(backbone, "embed_dims", None)
    return width if isinstance(width, int) else None


def _class_token(backbone: nn.Module) -> Any:
    return getattr(backbone, "cls_token", None)
