"""Patch tokens out of any backbone: caught on the way, class tokens cut off, laid on their grid."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..attention import HeadMixingAttention
from .backbone_facts import Source

#: Name under which the backbone's own outputs are caught.
_OUTPUTS = ""
#: Modules that hold blocks, and how many names a message says.
_LISTS = (nn.ModuleList, nn.Sequential)
_NAMES_SAID = 5


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
        ValueError: There is no such submodule; the message names some that there are: those spelled
            alike, then the blocks, nearest first.
    """
    names = [name for name, _ in backbone.named_modules() if name]
    if isinstance(source, str) and source not in names:
        alike = difflib.get_close_matches(source, names)
        blocks = sorted(block_names(backbone), key=lambda name: -_likeness(source, name))
        nearest = list(dict.fromkeys([*alike, *blocks]))[:_NAMES_SAID] or names[:_NAMES_SAID]
        raise ValueError(
            f"{type(backbone).__name__} has no submodule {source!r}: name one that it has, nearest "
            f"first {', '.join(map(repr, nearest))}"
        )


def block_names(backbone: nn.Module) -> list[str]:
    """Names of what looks like a backbone's blocks and stages, in its order.

    Args:
        backbone: Any module. Members of its lists count where a list has one type of them, with
            submodules of their own.
    """
    return [
        f"{name}.{i}"
        for name, parent in backbone.named_modules()
        if isinstance(parent, _LISTS) and len({type(child) for child in parent}) == 1
        for i, child in enumerate(parent)
        if not isinstance(child, _LISTS) and any(child.children())
    ]


def sibling_blocks(backbone: nn.Module) -> tuple[str, str] | None:
    """Names of the first and the last block of the last list of several blocks, None for none."""
    lists: dict[str, list[str]] = {}
    for name in block_names(backbone):
        lists.setdefault(name.rpartition(".")[0], []).append(name)
    several = [names for names in lists.values() if len(names) > 1]
    return (several[-1][0], several[-1][-1]) if several else None


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(a=a, b=b).ratio()


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


@contextmanager
def catch_queries_and_keys(
    layers: Sequence[HeadMixingAttention],
) -> Iterator[list[tuple[HeadMixingAttention, Tensor]]]:
    """Catch what makes the maps of some attention layers while the context lasts.

    Args:
        layers: They run within the context.

    Yields:
        Grows by each layer that has run and the (B, N, 3·C) result of its ``qkv``.
    """
    caught: list[tuple[HeadMixingAttention, Tensor]] = []

    def keeper(layer: HeadMixingAttention) -> Any:
        return lambda module, args, output: caught.append((layer, output))

    handles = [layer.qkv.register_forward_hook(keeper(layer)) for layer in layers]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def read_tokens(
    caught: dict[str, Any],
    source: Source,
    images: Tensor,
    num_prefix: int,
    backbone: nn.Module | None = None,
) -> PatchTokens:
    """The patch tokens of one source.

    Args:
        caught: As :func:`catch_outputs` yields it.
        source: Index or name.
        images: What the backbone was given, (B, 3, H, W).
        num_prefix: Number of tokens before the patches in (B, N, C) results; where N is a grid
            without them, there are none.
        backbone: Whose names of blocks a message says; None says none.

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
        f"{size[0]}×{size[1]}: name a whole block{_such_as(backbone)}"
    )


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


def _such_as(backbone: nn.Module | None) -> str:
    blocks = [] if backbone is None else block_names(backbone)
    return f", such as {blocks[0]!r} or {blocks[-1]!r}" if blocks else ""


def _describe(value: Any) -> str:
    return f"{tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
