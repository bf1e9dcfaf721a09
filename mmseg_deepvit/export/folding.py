"""Folding of the attention maps' BatchNorm into the mix before it, for inference.

Paper: DeepViT, https://arxiv.org/abs/2103.11886. With running statistics its norm is affine, so
mix, norm and ``mix_scale`` together are one H×H mix with a bias.
"""

from __future__ import annotations

import torch
from torch import nn

from ..attention import HeadMixingAttention
from ..attention.map_norm import fold_norm


@torch.no_grad()
def fold_map_norms(model: nn.Module) -> int:
    """Fold every affine map norm, and ``mix_scale``, into the post mix before it.

    A LayerNorm over heads and a BatchNorm without running statistics depend on the maps and stay.

    Args:
        model: Model in eval mode with :class:`~mmseg_deepvit.attention.HeadMixingAttention`;
            changed in place.

    Returns:
        Number of folded norms.
    """
    attentions = [m for m in model.modules() if isinstance(m, HeadMixingAttention)]
    return sum(_fold(attention) for attention in attentions)


def _fold(attention: HeadMixingAttention) -> bool:
    mix, norm = attention.post_mix, attention.mix_norm
    if mix is None:
        return False
    folded = fold_norm(mix.weight, mix.bias, norm, attention.mix_scale)
    if folded.kind != "none":
        return False
    assert folded.post_weight is not None
    mix.weight = nn.Parameter(folded.post_weight, requires_grad=False)
    bias = folded.post_bias
    mix.register_parameter("bias", None if bias is None else nn.Parameter(bias, False))
    attention.mix_norm, attention.mix_scale = None, 1.0
    return norm is not None
