"""Head-mixing attention in compiled passes, for CPUs: exact, O(N) memory, fp32 arithmetic.

Paper and function: :mod:`mmseg_deepvit.attention.streaming`; online tiles that are summed up in
registers: Goto and van de Geijn, https://doi.org/10.1145/1356052.1356053.
Deviations: none in result. Inputs of 16 bits are computed in fp32.

The passes are C++17 in ``*.h``, compiled once for each set of instructions into one binary
(``library.cpp``): :mod:`.library` loads it and :mod:`.passes` calls it. A block of query rows is
taken through panels of keys; all heads' tiles of a panel are neighbours in memory, so that the mixes
find them in the nearest cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..call_settings import CallSettings
from ..streaming import streamed_attention, unsupported
from ..streaming.operator import STREAMING_BACKENDS, StreamingBackend
from .library import DTYPES, MOST_HEADS, MOST_WIDTH, instruction_sets
from .passes import backward, forward, moments

__all__ = ["native_attention", "native_unsupported"]

STREAMING_BACKENDS["native"] = StreamingBackend(
    lambda q, batch_statistics: torch.float32, moments, forward, backward
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
        ValueError: See :func:`native_unsupported`; or a BatchNorm in training has one entry a head.
    """
    if reason := native_unsupported(q, k, v, settings):
        raise ValueError(f"the native backend does not do {reason}; use backend='auto'")
    return streamed_attention(q, k, v, settings, "native", q.shape[2])


def native_unsupported(
    q: Tensor, k: Tensor, v: Tensor, settings: CallSettings
) -> str | None:
    """Whatever of a call the compiled passes cannot do, in words; None if they can do it all."""
    if reason := unsupported(settings):
        return reason
    if not instruction_sets():
        return "any call, since its binary is missing: no C++ compiler was there at installation"
    if any(x.device.type != "cpu" for x in (q, k, v)):
        return f"tensors on {q.device.type}"
    if any(x.dtype not in DTYPES for x in (q, k, v)):
        return f"{q.dtype}, {k.dtype} and {v.dtype} (fp32, fp16 and bf16 it does)"
    heads, width = q.shape[1], q.shape[3]
    if heads > MOST_HEADS or width > MOST_WIDTH:
        return f"{heads} heads of {width} (up to {MOST_HEADS} of up to {MOST_WIDTH} it does)"
    return None
