"""Read patch tokens of any backbone: catch them, remove prefix tokens, find their grid."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..module_calls import catch_results
from .backbone_facts import Source, block_names, count_prefix_tokens

#: Name of the backbone itself, for its outputs.
_OUTPUTS = ""


class PatchTokens(NamedTuple):
    """Tokens of the patches of some images.

    Attributes:
        tokens: Tokens row by row, (B, h·w, C).
        grid: Grid (h, w) of the patches.
    """

    tokens: Tensor
    grid: tuple[int, int]


def catch_outputs(
    backbone: nn.Module, sources: Iterable[Source]
) -> AbstractContextManager[dict[str, Any]]:
    """Catch results of a backbone and some of its submodules while the context lasts.

    Args:
        backbone: Module that runs within the context.
        sources: Indices of outputs and names of submodules.

    Returns:
        A context that yields the results, for :func:`read_tokens` after the backbone has run.
    """
    names = {_OUTPUTS, *(source for source in sources if isinstance(source, str))}
    return catch_results({name: backbone.get_submodule(name) for name in names})


def read_tokens(
    caught: dict[str, Any], source: Source, images: Tensor, backbone: nn.Module
) -> PatchTokens:
    """The patch tokens of one source.

    Args:
        caught: Results, as :func:`catch_outputs` yields them.
        source: Index of an output, or name of a submodule.
        images: Input of the backbone, (B, 3, H, W).
        backbone: Module that ran. In a (B, N, C) result its prefix tokens come before the patches,
            unless N tokens without a prefix fill a grid.

    Returns:
        Tokens with their gradients, and their grid.

    Raises:
        ValueError: There is no such output, the submodule did not run, or the result is neither
            patch tokens nor a map.
    """
    num_prefix = count_prefix_tokens(backbone)
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
        f"{size[0]}×{size[1]}; name a block{_such_as(backbone)}"
    )


@torch.no_grad()
def read_layers(backbone: nn.Module, images: Tensor) -> dict[str, PatchTokens]:
    """Patch tokens after every block that runs, or of every output where blocks give none.

    Args:
        backbone: Module in evaluation mode. Blocks are read in our ViTs, timm's and mmseg's
            ``VisionTransformer``; outputs in others.
        images: One normalised image, (1, 3, H, W).

    Returns:
        Tokens in their order, by the block's name or ``output`` and its index.

    Raises:
        ValueError: The backbone gives neither tokens nor maps, or values that are not finite.
    """
    names = [n for n in block_names(backbone) if n.rpartition(".")[0] in ("blocks", "layers")]
    with catch_outputs(backbone, names) as caught:
        outputs = backbone(images)
    try:
        found = {n: read_tokens(caught, n, images, backbone) for n in names if n in caught}
    except ValueError:
        found = {}
    if not found:
        indices = range(1 if isinstance(outputs, Tensor) else len(outputs))
        found = {f"output {i}": read_tokens(caught, i, images, backbone) for i in indices}
    for name, patches in found.items():
        if not patches.tokens.isfinite().all():
            raise ValueError(f"{name} gives values that are not finite")
    return found


def _pick(caught: dict[str, Any], outputs: list[Any], source: Source) -> Any:
    if isinstance(source, str):
        if source not in caught:
            raise ValueError(f"{source!r} did not run; name a block up to the last output's")
        return _first(caught[source])
    if -len(outputs) <= source < len(outputs):
        return outputs[source]
    raise ValueError(
        f"the backbone has {len(outputs)} outputs and no output {source}; set out_indices, or "
        "diversity.early and diversity.last"
    )


def _first(output: Any) -> Any:
    """The first part of a module's result; further parts are a grid or a class token."""
    return output[0] if isinstance(output, (list, tuple)) and len(output) else output


def _find_grid(
    num_tokens: int, num_prefix: int, grids: list[tuple[int, int]]
) -> tuple[int, int] | None:
    """The first grid that all tokens fill, with or without the prefix."""
    for grid in grids:
        if num_tokens - grid[0] * grid[1] in (0, num_prefix):
            return grid
    return None


def _grids(size: tuple[int, int]) -> list[tuple[int, int]]:
    """All grids of square patches on an image, for each number of patches at most one."""
    strides = range(1, max(size) + 1)
    return [(math.ceil(size[0] / p), math.ceil(size[1] / p)) for p in strides]


def _such_as(backbone: nn.Module) -> str:
    blocks = block_names(backbone)
    return f", such as {blocks[0]!r} or {blocks[-1]!r}" if blocks else ""


def _describe(value: Any) -> str:
    return f"{tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
