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

from ..attention import HeadMixingAttention
from ..errors import UserError
from .attention_rows import attention_layers, attention_rows
from .backbone_facts import count_prefix_tokens


class PointRows(NamedTuple):
    """How R tokens of one image attend in one block.

    Attributes:
        probabilities: Their rows of P, (R, H, N), on the CPU.
        mixed: Their rows of A, (R, H, N), on the CPU; None where A is P itself.
    """

    probabilities: Tensor
    mixed: Tensor | None


@contextmanager
def catch_point_rows(
    backbone: nn.Module, tokens: Sequence[int], num_tokens: int
) -> Iterator[list[PointRows | None]]:
    """Catch what some tokens attend to in every block that runs within the context.

    No whole map is made for it.

    Args:
        backbone: In evaluation mode, ours or another's.
        tokens: Which queries, by their place among the N tokens, prefix counted.
        num_tokens: N.

    Yields:
        A list that grows by the rows of each block, in their order, those of the first image. It
        is None for a block where not all N tokens attend to all N: within windows (Swin), to
        reduced keys (MiT), on a coarser grid. Nothing is caught where maps cannot be read.
    """
    caught: list[PointRows | None] = []
    queries = list(tokens)

    def keep(module: nn.Module, args: tuple, kwargs: dict) -> None:
        layer = attention_rows(module, args, kwargs)
        if (layer.q.shape[2], layer.k.shape[2]) != (num_tokens, num_tokens):
            caught.append(None)
            return
        rows = [x[0].transpose(0, 1).cpu() for x in layer.rows(queries)]
        caught.append(PointRows(rows[0], None if torch.equal(*rows) else rows[1]))

    try:
        layers = [backbone.get_submodule(name) for name in attention_layers(backbone).values()]
    except UserError:
        layers = []
    handles = [m.register_forward_pre_hook(keep, with_kwargs=True) for m in layers]
    try:
        with torch.no_grad():
            yield caught
    finally:
        for handle in handles:
            handle.remove()


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
