"""Rows of attention maps: how the patches under a few points attend, block by block.

Paper: see :mod:`mmseg_deepvit.attention.explicit`, which holds the mathematics of P and A.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from timm.layers import to_2tuple
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..attention import AttentionMaps, HeadMixingAttention, observe_maps
from ..diversity.backbone_facts import count_prefix_tokens


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


def count_norm_tokens(backbone: nn.Module, crop: tuple[int, int]) -> int | None:
    """Number of tokens that the BatchNorms of the maps belong to.

    Args:
        backbone: Anything.
        crop: Height and width that it was trained on, in pixels.

    Returns:
        Prefix and patches of the crop; None where no map passes a BatchNorm.
    """
    attentions = [m for m in backbone.modules() if isinstance(m, HeadMixingAttention)]
    if not any(isinstance(attention.mix_norm, _BatchNorm) for attention in attentions):
        return None
    height, width = to_2tuple(backbone.patch_size)
    return count_prefix_tokens(backbone) + -(-crop[0] // height) * -(-crop[1] // width)
