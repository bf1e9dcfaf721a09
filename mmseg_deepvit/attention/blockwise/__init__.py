"""Head-mixing attention in blocks of query rows: exact, O(N) memory, any device that has float64.

Paper: see :mod:`mmseg_deepvit.attention.explicit`, whose function this is, to rounding; row sums
kept for backward as in FlashAttention, https://arxiv.org/abs/2205.14135.
Deviations: none in result. BatchNorm of the maps is done on H×H moments
(:mod:`mmseg_deepvit.attention.map_statistics`): training takes two passes forward and, unlike
what its chain rule suggests, one backward.

Here is the function; below it :mod:`.operator` (what PyTorch sees), :mod:`.forward` and
:mod:`.backward` (the passes), :mod:`.row_blocks` (a block of rows), :mod:`.mixing` (what is done
to the maps).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..head_mixing import HeadMixing
from ..map_norm import FoldedNorm, fold_norm, update_running_statistics
from .backward import Coupling, backward
from .buffers import release_buffers
from .forward import forward, moments
from .mixing import Mixing
from .operator import blockwise
from .rows import Rows

__all__ = [
    "blockwise_attention",
    "default_block_rows",
    "passes",
    "release_buffers",
    "unsupported",
]

#: Bytes that one buffer of maps should take on a CPU, and rows below which products are slow.
CPU_BLOCK_BYTES = 8 * 2**20
CPU_LEAST_ROWS = 48
#: The same on an accelerator, where launches must be large.
ACCELERATOR_BLOCK_BYTES = 256 * 2**20


def blockwise_attention(
    q: Tensor, k: Tensor, v: Tensor, mixing: HeadMixing, block_rows: int | None = None
) -> Tensor:
    """Head-mixing attention that never holds a whole map.

    The same as :func:`~mmseg_deepvit.attention.explicit.explicit_attention`, effects on running
    statistics included; dropout draws other random numbers from the same generator. A
    SyncBatchNorm in training exchanges its H×H moments. A bias of the logits has no effect, since a
    softmax does not see it, and a gradient of zero.

    Args:
        q: Queries, (B, H, N, d), any floating dtype.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        mixing: What happens to the maps.
        block_rows: Query rows of a block; None chooses by shape and cache.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        ValueError: See :func:`unsupported`; or a BatchNorm in training has one entry a head;
            or ``block_rows`` is below 1.
    """
    if reason := unsupported(mixing):
        raise ValueError(f"the blockwise backend does not do {reason}; use backend='explicit'")
    if block_rows is not None and block_rows < 1:
        raise ValueError(f"block_rows must be at least 1, got {block_rows}")
    post_weight, post_bias = mixing.post_weight, mixing.post_bias
    norm = FoldedNorm(None, None)
    if post_weight is not None:
        norm = fold_norm(post_weight, post_bias, mixing.map_norm, mixing.mix_scale)
    if norm.kind == "batch" and q.shape[0] * q.shape[2] == 1:
        raise ValueError("BatchNorm in training needs more than one entry for each head")
    out, _, sums = blockwise(
        q,
        k,
        v,
        mixing.pre_weight,
        mixing.pre_bias,
        norm.post_weight,
        norm.post_bias,
        norm.weight,
        norm.bias,
        torch.randint(2**62, ()) if mixing.dropout_p > 0 else None,
        mixing.scale,
        norm.kind,
        norm.eps,
        mixing.dropout_p,
        mixing.dropout_position == "mix",
        block_rows or default_block_rows(q),
        norm.group,
    )
    if norm.kind == "batch" and post_weight is not None:
        update_running_statistics(mixing.map_norm, sums, post_weight, post_bias)
    if post_weight is None and mixing.mix_scale != 1.0:
        out = mixing.mix_scale * out
    return out.transpose(1, 2)


def unsupported(mixing: HeadMixing) -> str | None:
    """What of a call the blockwise form cannot do, in words; None if it can do it all."""
    if mixing.map_norm is None:
        return None
    if not isinstance(mixing.map_norm, (_BatchNorm, nn.LayerNorm)):
        return f"a map norm of type {type(mixing.map_norm).__name__}"
    if mixing.post_weight is None:
        return "a map norm without a post mix"
    if mixing.dropout_p > 0 and mixing.dropout_position == "mix":
        return "dropout of maps that a norm has normalised"
    return None


def default_block_rows(q: Tensor) -> int:
    """Query rows of a block: few enough for the cache, enough for the matrix products.

    Args:
        q: Queries, (B, H, N, d).

    Returns:
        Between 1 and N.
    """
    heads, tokens = q.shape[1:3]
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
    rows = Rows(q.shape[2], block_rows or default_block_rows(q))
    mixing = Mixing(scale, None, post_weight, post_weight.new_zeros(len(post_weight)))
    lse = q.new_empty(len(q), rows.blocks, q.shape[1], rows.size)
    moments(q, k, mixing, rows, lse)
    coupling = Coupling(post_weight.t() @ post_weight, None)
    grad = grad.transpose(1, 2)
    return {
        "second moment": lambda: moments(q, k, mixing, rows, lse),
        "forward after it": lambda: forward(q, k, v, mixing, rows, lse, True),
        "forward alone": lambda: forward(q, k, v, mixing, rows, lse.clone(), False),
        "backward": lambda: backward(grad, q, k, v, mixing, rows, lse),
        "backward with batch statistics": lambda: backward(
            grad, q, k, v, mixing, rows, lse, coupling
        ),
    }
