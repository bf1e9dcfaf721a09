"""A warning where BatchNorms of attention maps are used with another number of tokens.

The mean of mixed maps is exactly Σ_g post[h,g] / N + bias. A running mean far from that value was
measured in training with another number N of tokens, and the predictions are worth little. A model
with ``map_tokens`` uses that number in place of N.
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

#: Largest distance of a mean without a warning, in standard deviations of the maps. At the end of
#: training the distance is about 0.04, at other image sizes 1 to 30.
_TOLERANCE = 0.5

#: Remedies for models without and with ``map_tokens``.
_REMEDIES = (
    "test with windows of the training crop, or set model.backbone.map_tokens=img_size, where "
    "img_size is that crop",
    "set model.backbone.map_tokens to the number of tokens of the training crop",
)


class MapMeanCheck:
    """Warns once for each number of tokens that does not match the running means."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, blocks: Iterable[nn.Module], num_tokens: int) -> None:
        """Check blocks that are about to run in evaluation.

        Args:
            blocks: Blocks of a trunk.
            num_tokens: Number N of tokens, class and register tokens included.
        """
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or num_tokens in self._seen:
            return
        self._seen.add(num_tokens)
        attentions = [block.attn for block in blocks if hasattr(block, "attn")]
        mixing = [m for m in attentions if isinstance(m, HeadMixingAttention)]
        own = next((m.map_tokens for m in mixing if m.map_tokens is not None), None)
        deviations = [_deviation(attention, own or num_tokens) for attention in mixing]
        if (worst := max(deviations, default=0.0)) > _TOLERANCE:
            print_log(
                f"The maps' BatchNorm is of another number of tokens than {own or num_tokens} "
                f"(its mean is {worst:.1f} standard deviations off); {_REMEDIES[own is not None]}",
                "current",
                logging.WARNING,
            )


def _deviation(attention: HeadMixingAttention, num_tokens: int) -> float:
    """Distance of the running mean, the median over heads, in standard deviations of the maps.

    0 without a BatchNorm, and for one that has seen no data.
    """
    norm: Any = attention.mix_norm
    if norm is None or not is_batch_norm(norm) or norm.running_mean is None:
        return 0.0
    if norm.running_mean.is_meta or not norm.num_batches_tracked:
        return 0.0
    mix: Any = attention.post_mix
    with torch.no_grad():
        mean = mix.weight.sum(1) / num_tokens
        mean = mean if mix.bias is None else mean + mix.bias
        return float(((norm.running_mean - mean).abs() / norm.running_var.sqrt()).median())
