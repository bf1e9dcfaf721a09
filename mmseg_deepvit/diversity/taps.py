"""Patch tokens out of any backbone: caught on the way, class tokens cut off, laid on their grid."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from timm.layers import to_2tuple
from torch import Tensor, nn

from .settings import Source

#: Name under which the backbone's own outputs are caught.
_OUTPUTS = ""


class PatchTokens(NamedTuple):
    """Tokens of the patches of some images.

    Attributes:
        tokens: (B, h·w, C), row by row.
        grid: (h, w).
    """

    tokens: Tensor
    grid: tuple[int, int]


def check_source(backbone: nn.Module, source: Source) -> None:
    """Look whether a submodule that is named is there.

    Args:
        backbone: Whose submodule it is.
        source: Name or index; an index is looked at when there are outputs.

    Raises:
        ValueError: There is no such submodule; the message names those that are spelled alike.
    """
    names = [name for name, _ in backbone.named_modules()]
    if isinstance(source, str) and source not in names:
        close = ", ".join(map(repr, difflib.get_close_matches(source, names))) or "none is alike"
        raise ValueError(f"{type(backbone).__name__} has no submodule {source!r} ({close})")


@contextmanager
def catch_outputs(backbone: nn.Module, sources: Iterable[Source]) -> Iterator[dict[str, Any]]:
    """Catch what a backbone and some of its submodules return while the context lasts.

    Nothing is caught when activation checkpointing runs a block again: that is in backward, behind
    the context.

    Args:
        backbone: Runs within the context.
        sources: What is wanted; names of submodules count.

    Yields:
        To be read by :func:`read_tokens` after the backbone has run.
    """
    caught: dict[str, Any] = {}

    def keeper(name: str) -> Any:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            caught[name] = output

        return keep

    names = {_OUTPUTS, *(source for source in sources if isinstance(source, str))}
    handles = [backbone.get_submodule(n).register_forward_hook(keeper(n)) for n in names]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def read_tokens(
    caught: dict[str, Any], source: Source, images: Tensor, num_prefix: int
) -> PatchTokens:
    """The patch tokens of one source.

    Args:
        caught: As :func:`catch_outputs` yields it.
        source: Index or name.
        images: What the backbone was given, (B, 3, H, W).
        num_prefix: Number of tokens before the patches in (B, N, C) results; where N is a grid
            without them, there are none.

    Returns:
        Tokens and their grid, in the graph.

    Raises:
        ValueError: No such output, a submodule that did not run, or a result that is no patch
            tokens or map.
    """
    outputs = caught[_OUTPUTS]
    outputs = [outputs] if isinstance(outputs, Tensor) else [_first(output) for output in outputs]
    maps = [output for output in outputs if isinstance(output, Tensor) and output.ndim == 4]
    size = (images.shape[2], images.shape[3])
    grids = [(m.shape[2], m.shape[3]) for m in maps] + _grids(size)
    value = _pick(caught, outputs, source)
    if isinstance(value, Tensor) and len(value) == len(images):
        if value.ndim == 4 and (value.shape[2], value.shape[3]) in grids:
            return PatchTokens(value.flatten(2).transpose(1, 2), (value.shape[2], value.shape[3]))
        grid = _find_grid(value.shape[1], num_prefix, grids) if value.ndim == 3 else None
        if grid is not None:
            return PatchTokens(value[:, -grid[0] * grid[1] :], grid)
    raise ValueError(
        f"{source!r} gives {_describe(value)}, no patch tokens or map of {len(images)} images of "
        f"{size[0]}×{size[1]}: name a whole block, such as 'blocks.0'"
    )


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
        is_index = isinstance(source, int) and -len(indices) <= source < len(indices)
        return per_stage[indices[source]] if is_index else None
    width = getattr(backbone, "embed_dims", None)
    return width if isinstance(width, int) else None


def _class_token(backbone: nn.Module) -> Any:
    return getattr(backbone, "cls_token", None)


def _pick(caught: dict[str, Any], outputs: list[Any], source: Source) -> Any:
    if isinstance(source, str):
        if source not in caught:
            raise ValueError(f"{source!r} did not run: name a block up to the last output's")
        return _first(caught[source])
    if -len(outputs) <= source < len(outputs):
        return outputs[source]
    raise ValueError(
        f"the backbone has {len(outputs)} outputs and no output {source}: set out_indices, or "
        "diversity.early and diversity.last"
    )


def _first(output: Any) -> Any:
    """A module's result without what comes along with it (grid, class token)."""
    return output[0] if isinstance(output, (list, tuple)) and len(output) else output


def _find_grid(
    num_tokens: int, num_prefix: int, grids: list[tuple[int, int]]
) -> tuple[int, int] | None:
    """The first grid that all tokens fill, or all but the prefix."""
    for grid in grids:
        if num_tokens - grid[0] * grid[1] in (0, num_prefix):
            return grid
    return None


def _grids(size: tuple[int, int]) -> list[tuple[int, int]]:
    """All grids of square patches on an image; no two of them have the same number of patches."""
    strides = range(1, max(size) + 1)
    return [(math.ceil(size[0] / p), math.ceil(size[1] / p)) for p in strides]


def _describe(value: Any) -> str:
    return f"{tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
