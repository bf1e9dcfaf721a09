"""Head-mixing attention in blocks of query rows: exact, O(N) memory, any device that has float64.

Paper and function: :mod:`mmseg_deepvit.attention.streaming`.
Deviations: none in result. With batch statistics training takes two passes forward and, unlike
what their chain rule suggests, one backward.

Here is the entry; below it :mod:`.forward` and :mod:`.backward` (the passes), :mod:`.row_blocks`
(a block of rows) and :mod:`.buffers`.
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
from .buffers import release_buffers
from .forward import forward, moments

__all__ = ["blockwise_attention", "default_block_rows", "passes", "release_buffers"]

#: Bytes that one buffer of maps should take on a CPU, and rows below which products are slow.
CPU_BLOCK_BYTES = 8 * 2**20
CPU_LEAST_ROWS = 48
#: The same on an accelerator, where launches must be large.
ACCELERATOR_BLOCK_BYTES = 256 * 2**20
#: Up to here batch statistics have maps in float64: var = C − m² loses digits where m = 1/N is
#: large beside the root of eps, and these maps cost next to nothing.
FEW_TOKENS = 128


def map_dtype(q: Tensor, batch_statistics: bool) -> torch.dtype:
    """What maps are computed in."""
    if batch_statistics and q.shape[2] <= FEW_TOKENS:
        return torch.float64
    return torch.promote_types(q.dtype, torch.float32)


STREAMING_BACKENDS["blockwise"] = StreamingBackend(map_dtype, moments, forward, backward)


def blockwise_attention(
    q: Tensor, k: Tensor, v: Tensor, settings: CallSettings, block_rows: int | None = None
) -> Tensor:
    """:func:`~mmseg_deepvit.attention.streaming.streamed_attention` in blocks of query rows.

    Args:
        q: Queries, (B, H, N, d), any floating dtype.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: What happens to the maps.
        block_rows: Query rows of a block; None chooses by shape and cache.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        ValueError: See :func:`~mmseg_deepvit.attention.streaming.unsupported`; or a BatchNorm in
            training has one entry a head.
    """
    if reason := unsupported(settings):
        raise ValueError(f"the blockwise backend does not do {reason}; use backend='explicit'")
    rows = min(block_rows or default_block_rows(q), q.shape[2])
    return streamed_attention(q, k, v, settings, "blockwise", rows)


def default_block_rows(q: Tensor) -> int:
    """Query rows of a block: few enough for the cache, enough for the matrix products.

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
    # Equal blocks, so that the last is not a sliver.
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
    """The passes that calls with a post mix are made of, each to be run and timed by itself.

    Args:
        q: (B, H, N, d), not half.
        k: (B, H, N, d).
        v: (B, H, N, d).
        scale: Factor of the logits.
        post_weight: (H, H).
        grad: Gradient of the output, (B, H, N, d).
        block_rows: Query rows of a block; None chooses.

    Returns:
        Passes by name: the second moment (BatchNorm in training), the forward pass when row sums
        are known from it or not, the backward pass, and the same with batch statistics.
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
