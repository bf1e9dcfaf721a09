"""Passes of blockwise attention that compute outputs and moments."""

from __future__ import annotations

import torch
from torch import Tensor

from ..streaming.pass_settings import PassSettings
from ..streaming.row_split import RowSplit
from .buffers import Buffers
from .row_blocks import ImageBlocks, dropout_factors, mix, normalize_over_heads


def moments(
    q: Tensor, k: Tensor, settings: PassSettings, rows: RowSplit, lse: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum the probabilities, and their products between heads, over images and entries.

    Args:
        q: Queries, (B, H, N, d).
        k: Keys, (B, H, N, d).
        settings: Settings of the maps; those of the post mix and after it do not matter.
        rows: Division of the rows into n blocks of R.
        lse: Memory for the log-sum-exp of the rows, (B, n, H, R); the pass fills it.

    Returns:
        Σ P_h, (H,), and Σ P_h P_g, (H, H), in float64. P is dropped out where the settings say so.
    """
    heads = q.shape[1]
    first = lse.new_zeros(heads, dtype=torch.float64)
    second = lse.new_zeros(heads, heads, dtype=torch.float64)
    buffers = Buffers(heads, rows, lse)
    for b in range(len(q)):
        image = ImageBlocks(q[b], k[b], settings, rows, buffers, lse[b])
        _add_moments(image, rows, settings, buffers, b, first, second)
    if not settings.drops_probabilities:
        first += len(q) * rows.tokens  # rows of P sum to one
    return first, second


def _add_moments(
    image: ImageBlocks,
    rows: RowSplit,
    settings: PassSettings,
    buffers: Buffers,
    b: int,
    first: Tensor,
    second: Tensor,
) -> None:
    """Add an image's moments to ``second``, and to ``first`` if dropout acts on P."""
    image.start_exponentials()
    by_row = image.lse.new_zeros(rows.size, image.heads, image.heads)
    for i in range(rows.blocks):
        exps = image.exponentials(i, buffers.lend("maps"))
        inverse = image.sums[i].reciprocal()
        if i == rows.blocks - 1:
            inverse[:, rows.last :] = 0  # these rows only fill up the block
        if settings.drops_probabilities:
            exps.mul_(dropout_factors(settings, buffers, b, i))
            first += (exps.sum(-1) * inverse).sum(-1)
        inverse = inverse.t().contiguous()
        products = torch.bmm(exps.transpose(0, 1), exps.permute(1, 2, 0))
        by_row.addcmul_(products.mul_(inverse[:, :, None]), inverse[:, None])
    second += by_row.sum(0, dtype=torch.float64)
    image.keep_lse()


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    settings: PassSettings,
    rows: RowSplit,
    lse: Tensor,
    lse_known: bool,
) -> Tensor:
    """Compute the outputs of head-mixing attention.

    Args:
        q: Queries, (B, H, N, d).
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: Settings of the maps.
        rows: Division of the rows into n blocks of R.
        lse: Log-sum-exp of the rows, (B, n, H, R), in the dtype of the maps.
        lse_known: Whether ``lse`` is known; if not, the pass fills it in.

    Returns:
        (B, N, H, d) in the dtype of ``v``.
    """
    out = v.new_empty(v.transpose(1, 2).shape)
    buffers = Buffers(q.shape[1], rows, lse)
    for b in range(len(q)):
        image = ImageBlocks(q[b], k[b], settings, rows, buffers, lse[b])
        values = buffers.lend("values", *v[b].shape).copy_(v[b])
        total = values.sum(1, keepdim=True)
        if settings.centred:
            values.sub_(total / rows.tokens)
        products = _outputs(image, values, settings, rows, buffers, b, lse_known)
        if settings.output_bias is not None:
            products.add_(settings.output_bias[:, None, None] * total)
        rows.join(products, out[b].transpose(0, 1))
    return out


def _outputs(
    image: ImageBlocks,
    values: Tensor,
    settings: PassSettings,
    rows: RowSplit,
    buffers: Buffers,
    b: int,
    lse_known: bool,
) -> Tensor:
    """Compute an image's outputs without the output bias, (n, H, R, d)."""
    products = buffers.lend("products", rows.blocks, image.heads, rows.size, values.shape[-1])
    if lse_known:
        image.use_lse()
    else:
        image.start_exponentials()
    for i in range(rows.blocks):
        if lse_known:
            maps = image.probabilities(i, buffers.lend("maps"))
        else:
            maps = image.exponentials(i, buffers.lend("maps"))
            maps.mul_(image.sums[i].reciprocal()[..., None])
        maps = _mixed_maps(maps, settings, buffers, b, i)
        torch.bmm(maps, values, out=products[i])
    if not lse_known:
        image.keep_lse()
    return products


def _mixed_maps(maps: Tensor, settings: PassSettings, buffers: Buffers, b: int, i: int) -> Tensor:
    """Compute A of a block without the output bias from P, which it may overwrite."""
    if settings.drops_probabilities:
        maps.mul_(dropout_factors(settings, buffers, b, i))
    if settings.post is not None:
        maps = mix(settings.post, maps, buffers.lend("mixed"))
    if settings.norm is not None:
        normalize_over_heads(maps, settings.norm)
        maps.mul_(settings.norm.weight[:, None, None])
    if settings.map_bias is not None:
        maps.add_(settings.map_bias[:, None, None])
    if settings.drops_mixed:
        maps.mul_(dropout_factors(settings, buffers, b, i))
    return maps
