"""Head-mixing attention in blocks of query rows, on any device with float64.

Paper: see :mod:`mmseg_deepvit.attention.streaming`.
Deviations: none, up to rounding. Memory grows with N. Training with batch statistics takes two
forward passes and one backward pass.

:mod:`.forward` and :mod:`.backward` are the passes. :mod:`.row_blocks` builds the maps of a block.
:mod:`.buffers` lends memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..call_settings import CallSettings
from ..streaming import streamed_attention, unsupported
from ..streaming.gradients import Coupling
from ..streaming.operator import STREAMING_BACKENDS, StreamingBackend
from ..streaming.pass_settings import PassSettings
from ..streaming.row_split import RowSplit
from .backward import backward
from .forward import forward, moments

__all__ = ["blockwise_attention", "default_block_rows", "passes"]

#: Largest size of a buffer of maps on a CPU, in bytes, so that it stays in a cache.
CPU_BLOCK_BYTES = 8 * 2**20
#: Least number of rows for fast matrix products on a CPU.
CPU_LEAST_ROWS = 48
#: Largest size of a buffer of maps on an accelerator, in bytes; large launches are faster.
ACCELERATOR_BLOCK_BYTES = 256 * 2**20
#: Largest number of tokens for which batch statistics need float64 maps, which cost little there.
#: The variance C − m² loses digits if m = 1/N is large compared with the root of eps.
FEW_TOKENS = 128


def map_dtype(q: Tensor, batch_statistics: bool) -> torch.dtype:
    """Choose the dtype of the maps."""
    if batch_statistics and q.shape[2] <= FEW_TOKENS:
        return torch.float64
    return torch.promote_types(q.dtype, torch.float32)


STREAMING_BACKENDS["blockwise"] = StreamingBackend(map_dtype, moments, forward, backward)


def blockwise_attention(
    q: Tensor, k: Tensor, v: Tensor, settings: CallSettings, block_rows: int | None = None
) -> Tensor:
    """Compute head-mixing attention in blocks of query rows.

    See :func:`~mmseg_deepvit.attention.streaming.streamed_attention`.

    Args:
        q: Queries, (B, H, N, d), any floating dtype.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: Settings of the call.
        block_rows: Number of query rows in a block; None chooses by shape and cache.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        ValueError: :func:`~mmseg_deepvit.attention.streaming.unsupported` names a part of the
            call, or a BatchNorm in training has one entry for each head.
    """
    if reason := unsupported(settings):
        raise ValueError(f"the blockwise backend does not do {reason}; use backend='explicit'")
    rows = min(block_rows or default_block_rows(q), q.shape[2])
    return streamed_attention(q, k, v, settings, "blockwise", rows)


def default_block_rows(q: Tensor) -> int:
    """Choose the number of query rows in a block: many for fast products, few for the cache.

    Args:
        q: Queries, (B, H, N, d).

    Returns:
        Number of rows, 1 to N; 1 if there are no tokens.
    """
    heads, tokens = q.shape[1], max(q.shape[2], 1)
    row_bytes = heads * tokens * max(q.element_size(), 4)
    if q.device.type == "cpu":
        rows = max(CPU_BLOCK_BYTES // row_bytes, CPU_LEAST_ROWS)
    else:
        rows = max(ACCELERATOR_BLOCK_BYTES // row_bytes, 1)
    # Blocks are of equal size: a small last block would cost as much as a full one.
    blocks = -(-tokens // min(rows, tokens))
    return -(-tokens // blocks)


def passes(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    post_weight: Tensor,
    grad: Tensor,
    block_rows: int | None = None,
) -> dict[str, Callable[[], object]]:
    """Return the passes of calls with a post mix, to time each of them alone.

    Args:
        q: Queries, (B, H, N, d), in fp32 or float64.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        scale: Factor of the logits.
        post_weight: Mix, (H, H).
        grad: Gradient of the output, (B, H, N, d).
        block_rows: Number of query rows in a block; None chooses by shape and cache.

    Returns:
        Passes by name: the second moment (BatchNorm in training), the forward pass with and without
        its row sums, and the backward pass with and without batch statistics.
    """
    rows = RowSplit(q.shape[2], block_rows or default_block_rows(q))
    settings = PassSettings(scale, None, post_weight, post_weight.new_zeros(len(post_weight)))
    lse = q.new_empty(len(q), rows.blocks, q.shape[1], rows.size)
    moments(q, k, settings, rows, lse)
    coupling = Coupling(post_weight.t() @ post_weight, None)
    grad = grad.transpose(1, 2)
    return {
        "second moment": lambda: moments(q, k, settings, rows, lse),
        "forward after it": lambda: forward(q, k, v, settings, rows, lse, True),
        "forward alone": lambda: forward(q, k, v, settings, rows, lse.clone(), False),
        "backward": lambda: backward(grad, q, k, v, settings, rows, lse),
        "backward with batch statistics": lambda: backward(
            grad, q, k, v, settings, rows, lse, coupling
        ),
    }
