"""Class-attention: a class token that reads the patch tokens and never writes to them.

Paper: CaiT, https://arxiv.org/abs/2103.17239, section 3.
Reference: timm ``models/cait.py``, whose attention this is.
Deviations: the LayerScale factors are ``ls1.gamma`` and ``ls2.gamma``, as in the other blocks.
"""

from __future__ import annotations

import torch
from timm.layers import Mlp
from timm.models.cait import ClassAttn
from torch import Tensor, nn

from .block import layer_scale


class ClassBlock(nn.Module):
    """Class-attention and MLP with LayerScale; both update the class token alone.

    Args:
        embed_dims: Width C of the tokens; a multiple of ``num_heads``.
        num_heads: Number of attention heads.
        mlp_ratio: Hidden width of the MLP over C.
        qkv_bias: Whether query, keys and values have a bias.
        layer_scale_init: Initial value of the LayerScale factors; None for no LayerScale.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        layer_scale_init: float | None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = ClassAttn(embed_dims, num_heads, qkv_bias)
        self.ls1 = layer_scale(embed_dims, layer_scale_init)
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio))
        self.ls2 = layer_scale(embed_dims, layer_scale_init)

    def forward(self, cls_token: Tensor, patches: Tensor) -> Tensor:
        """(B, 1, C) class token and (B, N, C) patch tokens to the new class token, (B, 1, C)."""
        tokens = self.norm1(torch.cat([cls_token, patches], dim=1))
        x: Tensor = cls_token + self.ls1(self.attn(tokens))
        x = x + self.ls2(self.mlp(self.norm2(x)))
        return x
