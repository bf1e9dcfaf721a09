"""Head-mixing attention in compiled passes, for CPUs: exact, O(N) memory.

Paper and function: :mod:`mmseg_deepvit.attention.streaming`; online tiles that are summed up in
registers: Goto and van de Geijn, https://doi.org/10.1145/1356052.1356053.
Deviations: none in result of fp32 and fp16. Sums and maps are fp32, whatever the inputs. Where the
processor has AVX512-BF16 and all inputs are bfloat16, products take two terms at once: maps and
their gradients are rounded to bfloat16 before they meet values, keys and queries, as in
FlashAttention. Errors stay within two roundings of the results.

The passes are C++17 in ``*.h``, compiled once for each set of instructions into one binary
(``library.cpp``): :mod:`.library` loads it and :mod:`.passes` calls it. A block of query rows goes
through panels of keys. All heads' tiles of a panel are neighbours in memory, so that the mixes find
them in the nearest cache.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ..call_settings import CallSettings
from ..explicit import is_exporting
from ..streaming import streamed_attention, unsupported
from ..streaming.operator import STREAMING_BACKENDS, StreamingBackend, is_plain
from . import library
from .library import DTYPES, MOST_HEADS, MOST_WIDTH
from .passes import backward, forward, moments, totals

__all__ = ["native_attention", "outruns_pytorch", "serves"]

#: Products of numbers, B · H · N² · d, from which unmixed calls are faster than PyTorch's; and with
#: dropout, for which PyTorch builds maps.
LEAST_PRODUCTS, LEAST_DROPPED_PRODUCTS = 2**24, 2**20

STREAMING_BACKENDS["native"] = StreamingBackend(
    lambda q, batch_statistics: torch.float32, moments, forward, backward, totals, reads_out=True
)


def native_attention(q: Tensor, k: Tensor, v: Tensor, settings: CallSettings) -> Tensor:
    """:func:`~mmseg_deepvit.attention.streaming.streamed_attention` in compiled passes.

    Args:
        q: Queries, (B, H, N, d), on a CPU; fp32, fp16 or bf16; H up to 32, d up to 128.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: What happens to the maps.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        ValueError: The passes do not do the call; or a BatchNorm in training has one entry a head.
    """
    if reason := _unsupported(q, k, v, settings):
        raise ValueError(f"the native backend does not do {reason}; use backend='auto'")
    return streamed_attention(q, k, v, settings, "native", q.shape[2])


def serves(q: Tensor, k: Tensor, v: Tensor, settings: CallSettings) -> bool:
    """Whether ``'auto'`` may take the compiled passes for a call on a CPU."""
    if not library.AVAILABLE and not torch.compiler.is_compiling():
        library.note_absence()
    return _unsupported(q, k, v, settings) is None


def outruns_pytorch(q: Tensor, k: Tensor, v: Tensor, settings: CallSettings) -> bool:
    """Whether the passes are faster than PyTorch's fused attention in a call that mixes nothing.

    They are with AVX2 or AVX-512, from a size on at which a call in Python costs less than they
    gain. Exports, dispatch modes and other kinds of tensors know PyTorch's operator better.
    """
    if is_exporting() or not is_plain(q) or _unsupported(q, k, v, settings):
        return False
    if library.AVAILABLE[0] == "portable" or (q.dtype != torch.float32 and _has_amx()):
        return False
    least = LEAST_DROPPED_PRODUCTS if settings.dropout_p > 0 else LEAST_PRODUCTS
    return q.numel() * q.shape[2] >= least


@torch.compiler.assume_constant_result
@cache
def _has_amx() -> bool:
    """Whether the processor multiplies matrices of 16 bits, as PyTorch's attention does with it."""
    return bool(torch.cpu._is_amx_tile_supported())


def _unsupported(q: Tensor, k: Tensor, v: Tensor, settings: CallSettings) -> str | None:
    """Name the part of a call that the compiled passes do not do; None if there is none."""
    if reason := unsupported(settings):
        return reason
    if not library.AVAILABLE:
        return "anything without its binary, for which installing needs a C++ compiler"
    for x in (q, k, v):
        if x.device.type != "cpu":
            return f"tensors on {x.device}"
        if x.dtype not in DTYPES:
            return f"{x.dtype}"
    _, heads, _, width = q.shape
    if heads > MOST_HEADS or width > MOST_WIDTH or v.shape[3] != width:
        return f"{heads} heads of {width} (values {v.shape[3]}); at most 32 of 128"
    return None
