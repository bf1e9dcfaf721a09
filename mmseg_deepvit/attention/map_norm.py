"""Folding of the norm of mixed maps into the mix, for backends that hold no full map.

Paper: see :mod:`mmseg_deepvit.attention.map_statistics`, which has the closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .sync_norm import sync_group, update_running


@dataclass(frozen=True)
class FoldedNorm:
    """Post mix that includes the part of the norm that does not depend on the batch.

    Attributes:
        post_weight: Mix, (H, H).
        post_bias: Summand of the mixed maps, (H,), or None.
        kind: Norm that is still to do after the mix: none, BatchNorm by batch statistics, or
            LayerNorm over the heads. For LayerNorm, mix and bias already subtract the mean.
        weight: Product of γ and ``mix_scale``, (H,); None for ``kind='none'``.
        bias: Product of β and ``mix_scale``, (H,); None for ``kind='none'``.
        eps: Summand of the variance.
        group: Name of the process group that shares the statistics; empty for none.
    """

    post_weight: Tensor | None
    post_bias: Tensor | None
    kind: Literal["none", "batch", "layer"] = "none"
    weight: Tensor | None = None
    bias: Tensor | None = None
    eps: float = 0.0
    group: str = ""


def fold_norm(
    post_weight: Tensor,
    post_bias: Tensor | None,
    norm: nn.Module | None,
    mix_scale: float | Tensor,
) -> FoldedNorm:
    """Fold a norm's running statistics or centring, and ``mix_scale``, into the post mix.

    Autograd records the steps; all tensors are of H or H×H entries.

    Args:
        post_weight: Mix, (H, H).
        post_bias: Bias of the mix, (H,), or None.
        norm: BatchNorm, SyncBatchNorm, LayerNorm over H heads, or None.
        mix_scale: Factor of the normalised maps.

    Returns:
        The folded mix, and the norm that is still to do.

    Raises:
        TypeError: The norm is of another type.
    """
    if norm is None:
        bias = None if post_bias is None else _times(mix_scale, post_bias)
        return FoldedNorm(_times(mix_scale, post_weight), bias)
    if not isinstance(norm, (_BatchNorm, nn.LayerNorm)):
        raise TypeError(f"expected a BatchNorm or a LayerNorm of maps, got {type(norm).__name__}")
    heads = len(post_weight)
    gamma = _times(mix_scale, post_weight.new_ones(heads) if norm.weight is None else norm.weight)
    beta = _times(mix_scale, post_weight.new_zeros(heads) if norm.bias is None else norm.bias)
    if isinstance(norm, nn.LayerNorm):
        centred = post_weight - post_weight.mean(0)
        bias = None if post_bias is None else post_bias - post_bias.mean()
        return FoldedNorm(centred, bias, "layer", gamma, beta, norm.eps)
    if norm.training or norm.running_mean is None or norm.running_var is None:
        group = sync_group(norm)
        return FoldedNorm(post_weight, post_bias, "batch", gamma, beta, norm.eps, group)
    factor = gamma * (norm.running_var + norm.eps).rsqrt()
    shift = -norm.running_mean if post_bias is None else post_bias - norm.running_mean
    return FoldedNorm(factor[:, None] * post_weight, torch.addcmul(beta, factor, shift))


def _times(factor: float | Tensor, tensor: Tensor) -> Tensor:
    return tensor if isinstance(factor, float) and factor == 1 else factor * tensor


@torch.no_grad()
def update_running_statistics(
    norm: nn.Module | None, moments: Tensor, post_bias: Tensor | None
) -> None:
    """Update running statistics like nn.BatchNorm2d, by the moments of a batch.

    Args:
        norm: BatchNorm, with or without running statistics.
        moments: What :func:`~mmseg_deepvit.attention.map_statistics.mixed_moments` gave.
        post_bias: Bias of the mix, (H,), or None.
    """
    assert isinstance(norm, _BatchNorm)
    count, _, mean, var = moments[:4].unbind()
    update_running(norm, mean if post_bias is None else mean + post_bias, var, count[0])
