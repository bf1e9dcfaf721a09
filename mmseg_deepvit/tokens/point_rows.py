"""Rows of attention maps: the attention of the patches under a few points, block by block.

Paper: see :mod:`mmseg_deepvit.attention.explicit`, which holds the mathematics of P and A.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import UserError
from .attention_rows import AttentionRows, attention_layers, catch_attention


class PointRows(NamedTuple):
    """Attention of R tokens of one image in one block.

    Attributes:
        probabilities: Rows of P, (R, H, N), on the CPU.
        mixed: Rows of A, (R, H, N), on the CPU; None where A is P itself.
    """

    probabilities: Tensor
    mixed: Tensor | None


@torch.no_grad()
def point_rows(layer: AttentionRows, tokens: Sequence[int]) -> PointRows:
    """Attention of some tokens of the first image in one block; indices count prefix tokens too."""
    rows = [x[0].transpose(0, 1).cpu() for x in layer.rows(list(tokens))]
    return PointRows(rows[0], None if torch.equal(*rows) else rows[1])


def is_over_all(layer: AttentionRows, num_tokens: int) -> bool:
    """Whether all of a number of tokens attend to all of them: no windows, no reduced keys."""
    return (layer.q.shape[2], layer.k.shape[2]) == (num_tokens, num_tokens)


@torch.no_grad()
def read_point_rows(
    backbone: nn.Module, images: Tensor, tokens: Sequence[int], num_tokens: int
) -> list[PointRows | None]:
    """Run a backbone and read the attention of some tokens in every block.

    Args:
        backbone: Module in evaluation mode, ours or another's.
        images: Normalised images, (B, 3, H, W).
        tokens: Indices of the queries among the N tokens, prefix tokens included.
        num_tokens: Number N of tokens.

    Returns:
        Rows of the first image for each block that runs, in order. None stands for a block where
        not all N tokens attend to all N: windows (Swin), reduced keys (MiT), a coarser grid. The
        list is empty where maps cannot be read.
    """

    def read(layer: AttentionRows) -> PointRows | None:
        return point_rows(layer, tokens) if is_over_all(layer, num_tokens) else None

    try:
        names = attention_layers(backbone)
    except UserError:
        return []
    with catch_attention(backbone, names, read) as caught:
        backbone(images)
    return list(caught.values())
