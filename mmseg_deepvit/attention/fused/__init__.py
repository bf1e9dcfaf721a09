"""Head-mixing attention in Triton kernels, for NVIDIA GPUs.

Paper: see :mod:`mmseg_deepvit.attention.streaming`. FlashAttention-2,
https://arxiv.org/abs/2307.08691, also builds maps again tile by tile.
Deviations: none, up to rounding. A program holds a tile of the maps of all heads, so that mixing is
one more product on tensor cores. A mix needs the row sums of all heads, so a separate pass computes
them first. With inputs in half precision, maps are multiplied in TF32 and logits are mixed in
emulated fp32; all sums are in fp32. Batch statistics centre the maps, so the kernels mix P − 1/N,
which is not rounded as much as P. Results repeat exactly, because no sum is atomic.

:mod:`.passes` calls :mod:`.launch`, which picks grids and tiles for the programs in
:mod:`.kernels`; these are made of the functions in :mod:`.tiles`. :mod:`.trial` checks the kernels
on a GPU before their first use.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..call_settings import CallSettings
from ..streaming import streamed_attention
from ..streaming import unsupported as unsupported_mixing
from ..streaming.operator import STREAMING_BACKENDS, StreamingBackend
from .trial import passes_trial

__all__ = ["fused_attention", "serves", "unsupported"]

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
MOST_HEADS = 32
MOST_WIDTH = 128
#: Least version of Triton that compiles the programs; PyTorch 2.8 brings it.
LEAST_TRITON = (3, 4)
#: Least compute capability with TF32 and bf16.
LEAST_CAPABILITY = (8, 0)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, settings: CallSettings) -> Tensor:
    """Compute head-mixing attention in Triton kernels.

    See :func:`~mmseg_deepvit.attention.streaming.streamed_attention`.

    Args:
        q: Queries, (B, H, N, d), fp16, bf16 or fp32, of any strides.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: Settings of the call.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        ValueError: :func:`unsupported` names a part of the call, or a BatchNorm in training has one
            entry for each head.
    """
    if reason := unsupported(q, settings):
        raise ValueError(f"the fused backend does not do {reason}; use backend='auto'")
    return streamed_attention(q, k, v, settings, "fused", q.shape[2])


def unsupported(q: Tensor, settings: CallSettings) -> str | None:
    """Name the part of a call that the kernels do not support; None if there is no such part."""
    reason: str = _unsupported_device(str(q.device))
    if reason:
        return reason
    if q.dtype not in DTYPES:
        return f"inputs of {q.dtype}"
    _, heads, _, width = q.shape
    if heads > MOST_HEADS or width > MOST_WIDTH:
        return f"{heads} heads of width {width}, only at most {MOST_HEADS} of {MOST_WIDTH}"
    if settings.dropout_p > 0:
        return "dropout"
    return unsupported_mixing(settings)


def serves(q: Tensor, settings: CallSettings) -> bool:
    """Tell whether ``'auto'`` may use the kernels: they support the call and passed a trial.

    Each kind of call has one trial on a GPU, see :mod:`.trial`. The reason for a refusal is logged
    once, at level DEBUG.
    """
    reason = unsupported(q, settings)
    if reason is None:
        norm = settings.map_norm
        batch = isinstance(norm, _BatchNorm) and (norm.training or norm.running_mean is None)
        kind = "batch" if batch else "layer" if isinstance(norm, nn.LayerNorm) else "none"
        mixes = settings.pre_weight is not None, settings.post_weight is not None
        return bool(passes_trial(str(q.device), q.dtype, q.shape[1], q.shape[3], *mixes, kind))
    if not torch.compiler.is_compiling():
        _log_once(reason)
    return False


@cache
def _log_once(reason: str) -> None:
    logging.getLogger(__name__).debug(
        "the fused kernels do not do %s; 'auto' takes another backend", reason
    )


# Compilers call it when they trace a call, and must not trace its look at the environment.
@torch.compiler.assume_constant_result
def _unsupported_device(name: str) -> str:
    """Name the reason why the kernels cannot run on a device; empty if they can."""
    device = torch.device(name)
    if importlib.util.find_spec("triton") is None:
        return "anything without the package triton"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return ""
    if device.type != "cuda" or torch.version.cuda is None:
        return f"tensors on {device}, only on NVIDIA GPUs"
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return f"{torch.cuda.get_device_name(device)}: compute capability 8.0 is needed"
    found = importlib.import_module("triton").__version__
    if tuple(map(int, found.split(".")[:2])) < LEAST_TRITON:
        return f"anything with Triton {found}: 3.4 is needed, which comes with PyTorch 2.8"
    return ""


def _lazy_pass(name: str) -> Callable[..., Any]:
    """A pass that imports :mod:`.passes` when called: not every machine has triton."""
    return lambda *args: getattr(importlib.import_module(".passes", __name__), name)(*args)


STREAMING_BACKENDS["fused"] = StreamingBackend(
    lambda q, batch_statistics: torch.float32,
    moments=_lazy_pass("moments"),
    forward=_lazy_pass("forward"),
    backward=_lazy_pass("backward"),
)
