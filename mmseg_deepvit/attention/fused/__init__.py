"""Head-mixing attention as Triton kernels: exact, O(N) memory, for NVIDIA GPUs.

Paper and function: :mod:`mmseg_deepvit.attention.streaming`; recomputing maps tile by tile as in
FlashAttention-2, https://arxiv.org/abs/2307.08691.
Deviations: none in result. A program holds a tile of all heads' maps, so that mixing is one more
product on tensor cores. Since a mix needs all heads' row sums first, they have a pass of their own.
Inputs in half precision have maps multiplied in TF32 and logits mixed in emulated fp32, all summed
up in fp32; where batch statistics centre the maps, P less its mean 1/N is mixed, so that no
rounding is magnified. Nothing is added up atomically: results repeat exactly.

Here is the entry; below it :mod:`.passes`, :mod:`.launch` (grids and tiles), :mod:`.kernels` (the
programs), :mod:`.tiles` (their pieces) and :mod:`.trial` (whether a GPU gets them right).
"""

from __future__ import annotations

import importlib.util
import logging
import os
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..call_settings import CallSettings
from ..streaming import streamed_attention
from ..streaming import unsupported as unsupported_mixing
from ..streaming.gradients import Gradients
from ..streaming.operator import STREAMING_BACKENDS, StreamingBackend
from .trial import passes_trial

__all__ = ["fused_attention", "serves", "unsupported"]

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
MOST_HEADS = 32
MOST_WIDTH = 128
#: Compute capability that has TF32 and bf16.
LEAST_CAPABILITY = (8, 0)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, settings: CallSettings) -> Tensor:
    """:func:`~mmseg_deepvit.attention.streaming.streamed_attention` in Triton kernels.

    Args:
        q: Queries, (B, H, N, d), fp16, bf16 or fp32; strides are free.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: What happens to the maps.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        ValueError: See :func:`unsupported`; or a BatchNorm in training has one entry a head.
    """
    if reason := unsupported(q, k, v, settings):
        raise ValueError(f"the fused backend does not do {reason}; use backend='auto'")
    return streamed_attention(q, k, v, settings, "fused", q.shape[2])


def unsupported(q: Tensor, k: Tensor, v: Tensor, settings: CallSettings) -> str | None:
    """What of a call the kernels cannot do, in words; None if they can do it all."""
    if reason := _unsupported_device(str(q.device)):
        return reason
    if q.dtype not in DTYPES:
        return f"inputs of {q.dtype}"
    _, heads, _, width = q.shape
    if heads > MOST_HEADS or width > MOST_WIDTH or v.shape[3] != width:
        return f"{heads} heads of {width} (values {v.shape[3]}); at most 32 of 128"
    if settings.dropout_p > 0:
        return "dropout"
    return unsupported_mixing(settings)


def serves(q: Tensor, k: Tensor, v: Tensor, settings: CallSettings) -> bool:
    """Whether ``'auto'`` may take the kernels for a call: they can do it, and have proved it.

    The first call of a kind on a GPU has a small one of its kind compared with the blockwise form;
    see :mod:`.trial`. What is turned away is logged once, at level DEBUG.
    """
    reason = unsupported(q, k, v, settings)
    if reason is None:
        norm = settings.map_norm
        batch = isinstance(norm, _BatchNorm) and (norm.training or norm.running_mean is None)
        kind = "batch" if batch else "layer" if isinstance(norm, nn.LayerNorm) else "none"
        mixes = settings.pre_weight is not None, settings.post_weight is not None
        return passes_trial(str(q.device), q.dtype, q.shape[1], q.shape[3], *mixes, kind)
    if not torch.compiler.is_compiling():
        _log_once(reason)
    return False


@cache
def _log_once(reason: str) -> None:
    logging.getLogger(__name__).debug("the fused kernels do not do %s: blockwise does it", reason)


# Compilers run it when they trace a call; the environment is none of their business.
@torch.compiler.assume_constant_result
def _unsupported_device(name: str) -> str:
    """What is wrong with a device, in words; empty if nothing is."""
    device = torch.device(name)
    if importlib.util.find_spec("triton") is None:
        return "anything without the package triton"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return ""
    if device.type != "cuda" or torch.version.cuda is None:
        return f"tensors on {device}, only on NVIDIA GPUs"
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return f"{torch.cuda.get_device_name(device)}: compute capability 8.0 is needed"
    return ""


def _moments(*args: Any) -> tuple[Tensor, Tensor]:
    from .passes import moments  # imports triton, which not every machine has

    return moments(*args)


def _forward(*args: Any) -> Tensor:
    from .passes import forward

    return forward(*args)


def _backward(*args: Any) -> Gradients:
    from .passes import backward

    return backward(*args)


STREAMING_BACKENDS["fused"] = StreamingBackend(
    lambda q, batch_statistics: torch.float32, _moments, _forward, _backward
)
