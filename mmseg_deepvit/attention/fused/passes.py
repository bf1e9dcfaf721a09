"""Passes of fused attention: they launch Triton programs and sum up the shares of the programs.

Arguments and results are those of :mod:`mmseg_deepvit.attention.blockwise.forward` and
:mod:`mmseg_deepvit.attention.blockwise.backward`. Inputs are fp16, bf16 or fp32. ``rows`` is one
block of all N rows, so ``lse`` is (B, 1, H, N), in fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..streaming.gradients import Coupling, Gradients, empty_gradients
from ..streaming.pass_settings import PassSettings
from ..streaming.row_split import RowSplit
from . import kernels
from .launch import Launch, as_tokens
from .tiles import Tokens


def moments(
    q: Tensor, k: Tensor, settings: PassSettings, rows: RowSplit, lse: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum the probabilities, and their products between heads, over images and entries."""
    launch = Launch(q, k, settings, lse)
    launch.over_rows(kernels.row_sums)
    (shares,) = launch.over_rows(kernels.moments, shares=(2,))
    batch, heads, tokens, _ = q.shape
    first = shares.new_full((heads,), batch * tokens, dtype=torch.float64)  # rows sum to one
    # Shares hold products of P − 1/N: B·N² entries, each 1/N² less than the product of P.
    return first, shares.sum(0, dtype=torch.float64) + batch


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    settings: PassSettings,
    rows: RowSplit,
    lse: Tensor,
    lse_known: bool,
) -> Tensor:
    """Compute the outputs of head-mixing attention."""
    launch = Launch(q, k, settings, lse)
    if not lse_known:
        launch.over_rows(kernels.row_sums)
    out = v.new_empty(v.transpose(1, 2).shape)
    shift = _times_bias(settings, v.sum(2, dtype=torch.float32))
    values = as_tokens(_centred(v) if settings.centred else v)
    launch.over_row_chunks(
        kernels.outputs, launch.mixes, values, shift, as_tokens(out.transpose(1, 2))
    )
    return out


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    settings: PassSettings,
    rows: RowSplit,
    lse: Tensor,
    coupling: Coupling | None = None,
) -> Gradients:
    """Compute the gradients of head-mixing attention."""
    found = empty_gradients(q, k, v, settings)
    launch = Launch(q, k, settings, lse, coupling)
    grad = grad.transpose(1, 2).to(v.dtype)
    totals = grad.sum(2, dtype=torch.float32)
    if found.bias is not None:
        found.bias += (totals.double() * v.sum(2, dtype=torch.float64)).sum((0, 2))
    values = as_tokens(_centred(v) if settings.centred else v)
    inputs = (launch.mixes, values, as_tokens(grad), torch.empty_like(lse))

    shares = launch.over_rows(kernels.row_gradients, *inputs, shares=(2, 1, 1))
    for total, share in zip((found.post, found.norm_weight, found.norm_bias), shares, strict=True):
        _sum_up(share, total)
    (share,) = launch.over_row_chunks(
        kernels.query_gradients, *inputs, as_tokens(found.q), shares=(2,)
    )
    _sum_up(share, found.pre)
    shift = _times_bias(settings, totals)
    outputs = as_tokens(found.k), as_tokens(found.v)
    launch.over_key_chunks(kernels.key_gradients, *inputs, shift, *outputs)
    return found


def _centred(v: Tensor) -> Tensor:
    """Subtract the mean over the tokens from the values, so that no large numbers cancel.

    The products with A stay the same where rows of A sum to zero.
    """
    return (v.float() - v.mean(2, dtype=torch.float32, keepdim=True)).to(v.dtype)


def _times_bias(settings: PassSettings, totals: Tensor) -> Tokens:
    """Multiply (B, H, d) totals over the tokens by the output bias; each token gains the result."""
    bias = settings.output_bias
    added = torch.zeros_like(totals) if bias is None else bias[:, None] * totals
    return as_tokens(added[:, :, None])


def _sum_up(shares: Tensor, total: Tensor | None) -> None:
    if total is not None:
        torch.sum(shares, 0, dtype=torch.float64, out=total)
