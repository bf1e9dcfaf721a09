"""Whether the maps' BatchNorms know the number of tokens that they are used with.

The mean of mixed maps is Σ_g post[h,g] / N + bias exactly, so a running mean tells which N it is
of: far from that value, the model was trained with another, and what it predicts is worth little.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from ..attention import HeadMixingAttention
from .block import is_batch_norm

#: Deviations that warn, in the maps' own standard deviations. Behind a running average by the
#: weights of training's end they are some 0.04, at other sizes 1 to 30.
_TOLERANCE = 0.5


class MapMeanCheck:
    """Warns once for each number of tokens that running means are not of."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, blocks: Iterable[nn.Module], num_tokens: int) -> None:
        """Look at blocks that are about to run in evaluation.

        Args:
            blocks: Of a trunk.
            num_tokens: N, class and register tokens among them.
        """
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or num_tokens in self._seen:
            return
        self._seen.add(num_tokens)
        deviations = [_deviation(block, num_tokens) for block in blocks]
        if (worst := max(deviations, default=0.0)) > _TOLERANCE:
            print_log(
                f"The maps' BatchNorm is of another number of tokens than {num_tokens}: its mean "
                f"is {worst:.1f} standard deviations off. Test with windows of the training crop, "
                "or set model.backbone.recenter_maps=True",
                "current",
                logging.WARNING,
            )


def _deviation(block: nn.Module, num_tokens: int) -> float:
    """Of the heads' median, in standard deviations; 0 where nothing can be off."""
    attention: Any = getattr(block, "attn", None)
    if not isinstance(attention, HeadMixingAttention) or attention.recenter_maps:
        return 0.0
    norm: Any = attention.mix_norm
    if norm is None or not is_batch_norm(norm) or norm.running_mean is None:
        return 0.0
    if norm.running_mean.is_meta or not norm.num_batches_tracked:  # never trained
        return 0.0
    mix: Any = attention.post_mix
    with torch.no_grad():
        mean = mix.weight.sum(1) / num_tokens
        mean = mean if mix.bias is None else mean + mix.bias
        return float(((norm.running_mean - mean).abs() / norm.running_var.sqrt()).median())
