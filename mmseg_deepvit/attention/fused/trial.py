"""Trial of the kernels: a small call on a GPU, before the first large call of its kind.

The trial finds compilers and drivers that are too old, and GPUs with too little shared memory. The
blockwise backend then replaces the kernels, so that no training stops or gets wrong gradients.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..blockwise import blockwise_attention
from ..call_settings import CallSettings
from ..streaming import streamed_attention

#: Number of tokens, which fills a tile and part of another.
TOKENS = 40
#: Largest relative errors: a few roundings of the dtype.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


class Call(NamedTuple):
    """Kind of a call; each kind is compiled separately.

    Attributes:
        device: Name of the device, for ``torch.device``.
        dtype: Dtype of queries, keys and values.
        heads: Number of heads H.
        width: Width of a head.
        pre: Whether logits are mixed.
        post: Whether probabilities are mixed.
        norm: Name of the norm: ``'batch'`` for batch statistics, ``'layer'``, or ``'none'``, also
            for a BatchNorm with running statistics.
    """

    device: str
    dtype: torch.dtype
    heads: int
    width: int
    pre: bool
    post: bool
    norm: str


# Compilers call it when they trace a call, and keep the result. They would trace a cached function.
@torch.compiler.assume_constant_result
def passes_trial(*call: Any) -> bool:
    """Tell whether output and gradients of a small call agree with the blockwise backend.

    Each kind of call is tried once. An exception or a large error is logged as a warning.

    Args:
        call: Fields of a :class:`Call`, one by one, because compilers pass no named tuples.
    """
    return _passes(Call(*call))


@cache
def _passes(call: Call) -> bool:
    try:
        error = trial_error(call)
    except Exception as reason:  # compilers and drivers raise any type
        problem = f"{type(reason).__name__}: {reason}".splitlines()[0]
    else:
        if error <= TOLERANCE[call.dtype]:
            return True
        problem = f"relative error {error:.1e}"
    logging.getLogger(__name__).warning(
        "the fused attention kernels failed their trial (%s; %s): blockwise attention is used",
        call,
        problem,
    )
    return False


def trial_error(call: Call) -> float:
    """Compute the largest error of output and gradients, relative to their largest values."""
    with torch.inference_mode(False), torch.enable_grad():
        tensors = _tensors(call)
        errors = [
            ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12)).item()
            for ours, theirs in zip(
                _results(call, tensors, True), _results(call, tensors, False), strict=True
            )
        ]
    # Comparisons with NaN are false, so NaN would pass as a small error.
    return max(e if e == e else float("inf") for e in errors)


def _tensors(call: Call) -> dict[str, Tensor]:
    heads, source = call.heads, torch.Generator().manual_seed(0)
    shape = (2, heads, TOKENS, call.width)
    made = {
        name: torch.randn(shape, generator=source).to(call.dtype)
        for name in ("q", "k", "v", "grad")
    }
    for name, mixes in (("pre_weight", call.pre), ("post_weight", call.post)):
        if mixes:
            noise = torch.randn(heads, heads, generator=source)
            made[name] = torch.eye(heads) + noise / heads**0.5
    return {name: x.to(call.device) for name, x in made.items()}


def _results(call: Call, tensors: dict[str, Tensor], fused: bool) -> list[Tensor]:
    inputs = {k: x.clone().requires_grad_() for k, x in tensors.items() if k != "grad"}
    q, k, v = (inputs[name] for name in "qkv")
    kinds = {"none": None, "batch": nn.BatchNorm2d, "layer": nn.LayerNorm}
    kind = kinds[call.norm]
    norm = None if kind is None else kind(call.heads).to(call.device)
    settings = CallSettings(
        call.width**-0.5,
        pre_weight=inputs.get("pre_weight"),
        post_weight=inputs.get("post_weight"),
        map_norm=norm,
    )
    if fused:
        out = streamed_attention(q, k, v, settings, "fused", TOKENS)
    else:
        out = blockwise_attention(q, k, v, settings)
    grads = torch.autograd.grad(out, list(inputs.values()), tensors["grad"])
    return [x.float() for x in (out.detach(), *grads)]
