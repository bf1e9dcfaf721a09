"""Whether the maps' BatchNorms know the number of tokens that they are used with.

The mean of mixed maps is Σ_g post[h,g] / N + bias exactly, so a running mean tells which N it is
of: far from that value, the model was trained with another, and what it predicts is worth little.
With ``map_tokens``, it is that number which must be training's.
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

#: A mean further off than this warns, in standard deviations of the maps. Running means lag the
#: weights by about 0.04 at the end of training; at other image sizes they are 1 to 30 off.
_TOLERANCE = 0.5

#: Without and with ``map_tokens``.
_REMEDIES = (
    "Test with windows of the training crop, or set model.backbone.map_tokens=img_size, where "
    "img_size is that crop",
    "Set model.backbone.map_tokens to the number of tokens of the training crop",
)


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
        attentions = [block.attn for block in blocks if hasattr(block, "attn")]
        mixing = [m for m in attentions if isinstance(m, HeadMixingAttention)]
        own = next((m.map_tokens for m in mixing if m.map_tokens is not None), None)
        deviations = [_deviation(attention, own or num_tokens) for attention in mixing]
        if (worst := max(deviations, default=0.0)) > _TOLERANCE:
            print_log(
                f"The maps' BatchNorm is of another number of tokens than {own or num_tokens}: its "
                f"mean is {worst:.1f} standard deviations off. {_REMEDIES[own is not None]}",
                "current",
                logging.WARNING,
            )


def _deviation(attention: HeadMixingAttention, num_tokens: int) -> float:
    """Of the heads' median, in standard deviations; 0 where nothing can be off."""
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
