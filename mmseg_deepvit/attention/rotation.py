"""Rotary positions: queries and keys are rotated by angles that depend on their patches' places.

The product of a rotated query and a rotated key depends on the difference of their places alone.

Paper: RoFormer, https://arxiv.org/abs/2104.09864.
Reference: timm ``layers/pos_embed_sincos.py`` (the two layouts of channel pairs).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Rotation(NamedTuple):
    """Angles of n tokens for the d/2 channel pairs of a head.

    Attributes:
        sin: Sines, (n, d/2), at least fp32.
        cos: Cosines, (n, d/2), at least fp32.
        interleaved: Whether channels 2i and 2i + 1 are a pair (EVA), not i and i + d/2 (DINOv3).
    """

    sin: Tensor
    cos: Tensor
    interleaved: bool


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate the last n of N tokens; the prefix tokens before them keep their values.

    Args:
        x: Queries or keys, (…, N, d).
        rotation: Angles of n ≤ N tokens.

    Returns:
        (…, N, d), in the dtype of ``x``.

    Raises:
        ValueError: The angles are of more than N tokens or of another head width.
    """
    sin, cos, interleaved = rotation
    tokens, pairs = sin.shape
    if tokens > x.shape[-2] or 2 * pairs != x.shape[-1]:
        raise ValueError(
            f"angles of {tokens} tokens and {pairs} channel pairs do not fit {tuple(x.shape)}; "
            "give angles of the patches for half the channels of a head"
        )
    num_prefix = x.shape[-2] - tokens
    prefix, patches = x[..., :num_prefix, :], x[..., num_prefix:, :]
    if interleaved:
        a, b = patches[..., 0::2], patches[..., 1::2]
    else:
        a, b = patches.chunk(2, dim=-1)
    rotated = (a * cos - b * sin, b * cos + a * sin)
    patches = torch.stack(rotated, -1).flatten(-2) if interleaved else torch.cat(rotated, -1)
    return torch.cat([prefix, patches.to(x.dtype)], dim=-2)
