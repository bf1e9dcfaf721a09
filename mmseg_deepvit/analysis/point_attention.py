"""Rows of attention maps: how the patches under a few points attend, block by block.

Paper: see :mod:`mmseg_deepvit.attention.explicit`, which holds the mathematics of P and A.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..attention import AttentionMaps, HeadMixingAttention, observe_maps


class PointRows(NamedTuple):
    """How R tokens of one image attend in one block.

    Attributes:
        probabilities: Their rows of P, (R, H, N), on the CPU.
        mixed: Their rows of A, (R, H, N), on the CPU; None where A is P itself.
    """

    probabilities: Tensor
    mixed: Tensor | None


def shows_attention(backbone: nn.Module) -> bool:
    """Whether maps of a backbone can be observed: whether its attention is ours."""
    return any(isinstance(module, HeadMixingAttention) for module in backbone.modules())


@contextmanager
def catch_point_rows(tokens: Sequence[int]) -> Iterator[list[PointRows]]:
    """Catch what some tokens attend to in every block that runs within the context.

    Each block's whole maps live only while it runs; the rows alone are kept.

    Args:
        tokens: Which queries, by their place among the N tokens, prefix counted.

    Yields:
        A list that grows by the rows of each block, in their order, those of the first image.
    """
    caught: list[PointRows] = []
    queries = list(tokens)

    def keep(maps: AttentionMaps) -> None:
        rows = [x[0][:, queries].transpose(0, 1).float().cpu() for x in maps]
        caught.append(PointRows(rows[0], None if torch.equal(*rows) else rows[1]))

    with torch.no_grad(), observe_maps(keep):
        yield caught


def count_trained_tokens(backbone: nn.Module) -> int | None:
    """Number of tokens that the BatchNorms of a trunk's maps belong to; None without any."""
    norms = [
        module.mix_norm for module in backbone.modules() if isinstance(module, HeadMixingAttention)
    ]
    grid = getattr(backbone, "patch_grid", None)
    if grid is None or not any(isinstance(n, nn.modules.batchnorm._BatchNorm) for n in norms):
        return None
    return grid[0] * grid[1] + getattr(backbone, "num_prefix_tokens", 0)
