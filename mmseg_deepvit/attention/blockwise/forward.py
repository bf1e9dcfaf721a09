"""The passes of blockwise attention that make outputs and moments."""

from __future__ import annotations

import torch
from torch import Tensor

from .mixing import Mixing
from .row_blocks import (
    Image,
    Workspace,
    dropout_factors,
    head_products,
    mix,
    normalize_over_heads,
)


def moments(q: Tensor, k: Tensor, mixing: Mixing, rows: int, lse: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the probabilities and of their products between heads, over images and entries.

    Args:
        q: (B, H, N, d).
        k: (B, H, N, d).
        mixing: What happens to the maps before the post mix.
        rows: Query rows of a block.
        lse: (B, H, N), filled in with the log-sum-exp of the rows.

    Returns:
        Σ P_h, (H,), and Σ P_h P_g, (H, H), in float64, of the maps that the post mix sees.
    """
    heads, tokens = lse.shape[1:]
    first = lse.new_zeros(heads, dtype=torch.float64)
    second = lse.new_zeros(heads, heads, dtype=torch.float64)
    work = Workspace(rows, tokens, lse)
    for b in range(len(q)):
        image = Image(q[b], k[b], mixing, work, lse[b])
        image.offset_by(0.0)
        maxima = image.needs_maxima()
        for block in work.blocks():
            exps, sums = image.exponentials(block, "maps", maxima)
            if mixing.drops_probabilities:
                exps.mul_(dropout_factors(mixing, work, heads, b, block))
                first += (exps.sum(-1) / sums).sum(-1)
            inverse = sums.reciprocal_().t()
            products = head_products(exps, exps)
            second += products.mul_(inverse[:, :, None]).mul_(inverse[:, None]).sum(0)
    if not mixing.drops_probabilities:
        first += len(q) * tokens  # rows of P sum to one
    return first, second


def forward(
    q: Tensor, k: Tensor, v: Tensor, mixing: Mixing, rows: int, lse: Tensor, lse_known: bool
) -> Tensor:
    """Outputs of head-mixing attention.

    Args:
        q: (B, H, N, d).
        k: (B, H, N, d).
        v: (B, H, N, d).
        mixing: What happens to the maps.
        rows: Query rows of a block.
        lse: (B, H, N), in the dtype of the maps; filled in unless it is known already.
        lse_known: Whether it is.

    Returns:
        (B, N, H, d) in the dtype of ``v``.
    """
    out = v.new_empty(v.transpose(1, 2).shape)
    heads, tokens = lse.shape[1:]
    work = Workspace(rows, tokens, lse)
    for b in range(len(q)):
        image = Image(q[b], k[b], mixing, work, lse[b])
        values = v[b].to(lse.dtype).contiguous()
        shift: Tensor | float = 0.0
        if mixing.output_bias is not None:
            shift = mixing.output_bias[:, None, None] * values.sum(1, keepdim=True)
        if lse_known:
            image.use_lse()
        else:
            image.offset_by(0.0)
        maxima = not lse_known and image.needs_maxima()
        for block in work.blocks():
            if lse_known:
                maps = image.probabilities(block, work.lend("maps", heads, block))
            else:
                maps, sums = image.exponentials(block, "maps", maxima)
                maps.mul_(sums.reciprocal_()[..., None])
            maps = _mixed_maps(maps, mixing, work, b, block)
            product = work.lend("output", heads, block, values.shape[-1])
            torch.bmm(maps, values, out=product)
            out[b, block] = product.add_(shift).transpose(0, 1)
    return out


def _mixed_maps(maps: Tensor, mixing: Mixing, work: Workspace, b: int, block: slice) -> Tensor:
    """P of a block to A, less the output bias; overwrites P where there is dropout."""
    heads = len(maps)
    if mixing.drops_probabilities:
        maps.mul_(dropout_factors(mixing, work, heads, b, block))
    if mixing.post is not None:
        maps = mix(mixing.post, maps, work.lend("mixed", heads, block))
    if mixing.norm is not None:
        normalize_over_heads(maps, mixing.norm)
        maps.mul_(mixing.norm.weight[:, None, None])
    if mixing.map_bias is not None:
        maps.add_(mixing.map_bias[:, None, None])
    if mixing.drops_mixed:
        maps.mul_(dropout_factors(mixing, work, heads, b, block))
    return maps
