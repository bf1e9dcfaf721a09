"""Class-attention: a class token that reads the patch tokens and never writes to them.

Paper: CaiT, https://arxiv.org/abs/2103.17239, section 3.
Reference: timm ``models/cait.py`` for parameter names and behaviour.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from .block import layer_scale


class ClassAttention(nn.Module):
    """Attention with one query, the first token.

    Args:
        embed_dims: Width C of the tokens; a multiple of ``num_heads``.
        num_heads: Number of heads.
        qkv_bias: Whether query, keys and values have a bias.
    """

    def __init__(self, embed_dims: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dims, embed_dims, bias=qkv_bias)
        self.k = nn.Linear(embed_dims, embed_dims, bias=qkv_bias)
        self.v = nn.Linear(embed_dims, embed_dims, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + N, C), the class token first, to its update (B, 1, C)."""
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.q(x[:, :1]), self.k(x), self.v(x))
        )
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ClassBlock(nn.Module):
    """Class-attention and MLP, both on the class token alone, with LayerScale.

    Args:
        embed_dims: Width C of the tokens.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over C.
        qkv_bias: Whether query, keys and values have a bias.
        layer_scale_init: Start of the LayerScale factors; None for no LayerScale.
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
        self.attn = ClassAttention(embed_dims, num_heads, qkv_bias)
        self.ls1 = layer_scale(embed_dims, layer_scale_init)
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio))
        self.ls2 = layer_scale(embed_dims, layer_scale_init)

    def forward(self, cls_token: Tensor, patches: Tensor) -> Tensor:
        """(B, 1, C) class token and (B, N, C) patch tokens to the new class token, (B, 1, C)."""
        tokens = self.norm1(torch.cat([cls_token, patches], dim=1))
        cls_token = cls_token + self.ls1(self.attn(tokens))
        return cls_token + self.ls2(self.mlp(self.norm2(cls_token)))
