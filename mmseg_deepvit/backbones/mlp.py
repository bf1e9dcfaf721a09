"""The MLP of a block, plain or gated.

Paper: GLU Variants Improve Transformer, https://arxiv.org/abs/2002.05202 (SwiGLU).
Reference: timm ``layers/mlp.py``, whose modules these are.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers import GluMlp, Mlp
from torch import nn


def make_mlp(
    embed_dims: int,
    hidden_dims: int,
    gated: bool = False,
    norm: bool = False,
    norm_eps: float = 1e-6,
    drop: float = 0.0,
) -> nn.Module:
    """A block's MLP: (B, N, C) to (B, N, C).

    Args:
        embed_dims: Width C of the tokens.
        hidden_dims: Width between the two linear layers.
        gated: Whether the activation is SwiGLU, SiLU(x) · y, in place of GELU. ``fc1`` then has
            both x and y, in this order, as its outputs.
        norm: Whether a LayerNorm precedes the second linear layer.
        norm_eps: ε of that LayerNorm.
        drop: Dropout after both layers, in [0, 1).
    """
    norm_layer: Any = partial(nn.LayerNorm, eps=norm_eps) if norm else None
    if not gated:
        return Mlp(embed_dims, hidden_dims, norm_layer=norm_layer, drop=drop)
    return GluMlp(
        embed_dims,
        2 * hidden_dims,
        act_layer=nn.SiLU,
        norm_layer=norm_layer,
        gate_last=False,
        drop=drop,
    )
