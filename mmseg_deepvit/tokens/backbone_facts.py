"""What backbones tell of their tokens before they have run: prefix, patch size, width."""

from __future__ import annotations

import math
from typing import Any

from timm.layers import to_2tuple
from torch import Tensor, nn

#: One of a backbone's outputs by its index, or one of its submodules by its dotted name.
Source = int | str


def count_prefix_tokens(backbone: nn.Module) -> int:
    """How many tokens a backbone has before those of the patches, class token and registers."""
    if isinstance(count := getattr(backbone, "num_prefix_tokens", None), int):
        return count
    has_one = getattr(backbone, "with_cls_token", isinstance(_class_token(backbone), Tensor))
    return int(bool(has_one))


def find_patch_size(
    backbone: nn.Module, grid: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int] | None:
    """A backbone's own patch size, if that makes the grid.

    Args:
        backbone: May say its ``patch_size``.
        grid: (h, w) of the tokens.
        size: Height and width of the images, in pixels.

    Returns:
        Height and width of a patch in pixels, or None.
    """
    sides = to_2tuple(getattr(backbone, "patch_size", 0))
    if all(isinstance(p, int) and p > 0 for p in sides):
        height, width = sides
        if grid == (math.ceil(size[0] / height), math.ceil(size[1] / width)):
            return height, width
    return None


def find_width(backbone: nn.Module, source: Source) -> int | None:
    """Width of the tokens of a source as far as the backbone tells it before it has run.

    Args:
        backbone: One of ours, mmseg's ``VisionTransformer`` or ``SwinTransformer``, or one that
            says what they do.
        source: Index or name.

    Returns:
        C, or None where it cannot be told.
    """
    token = _class_token(backbone)
    if isinstance(token, Tensor):
        return token.shape[-1]  # plain, so of one width throughout
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
        return per_stage[indices[source]]
    width = getattr(backbone, "embed_dims", None)
    return width if isinstance(width, int) else None


def _class_token(backbone: nn.Module) -> Any:
    return getattr(backbone, "cls_token", None)
