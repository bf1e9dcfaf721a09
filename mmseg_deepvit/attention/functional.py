"""The one entry to head-mixing attention: picks a backend, hands out maps for analysis.

Paper: see :mod:`mmseg_deepvit.attention.explicit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import fused, native
from .blockwise import blockwise_attention
from .call_settings import CallSettings, DropoutPosition
from .explicit import AttentionMaps, explicit_attention, is_exporting
from .inputs import check_inputs
from .streaming import unsupported

#: How head-mixing attention is computed; see :func:`head_mixing_attention`.
Backend = Literal["auto", "explicit", "blockwise", "native", "fused"]
BACKENDS: tuple[str, ...] = get_args(Backend)

#: Maps of a whole call up to this many bytes stay in a cache: building them is fastest.
SMALL_MAPS_BYTES = 2 * 2**20

_observer: ContextVar[Callable[[AttentionMaps], Any] | None] = ContextVar(
    "attention_observer", default=None
)


def head_mixing_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    pre_weight: Tensor | None = None,
    pre_bias: Tensor | None = None,
    post_weight: Tensor | None = None,
    post_bias: Tensor | None = None,
    map_norm: nn.Module | None = None,
    mix_scale: float | Tensor = 1.0,
    dropout_p: float = 0.0,
    dropout_position: DropoutPosition = "softmax",
    backend: Backend = "auto",
    block_rows: int | None = None,
) -> Tensor:
    """Attention whose maps may be mixed across heads, exactly, by the fastest way there is.

    Backends:

    * ``'explicit'`` builds all maps: (B, H, N, N) several times over.
    * ``'blockwise'`` streams over blocks of query rows: the same to rounding, O(N) memory.
    * ``'fused'`` streams over tiles in Triton kernels, for NVIDIA GPUs: fp16, bf16 and fp32, up to
      32 heads of up to 128, no dropout.
    * ``'auto'`` takes PyTorch's ``scaled_dot_product_attention`` where nothing is mixed,
      ``'explicit'`` in exports and for what streams do not do (a norm over maps that are then
      dropped out), ``'fused'`` where it does the call and has agreed with ``'blockwise'`` on this
      GPU, ``'explicit'`` for maps of up to 2 MiB a call, else ``'blockwise'``.

    Inside :func:`observe_maps`, ``'explicit'`` is taken whatever is said here.

    Args:
        q: Queries, (B, H, N, d), any floating dtype.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        scale: This and what follows up to ``dropout_position`` is as in
            :class:`~mmseg_deepvit.attention.call_settings.CallSettings`.
        pre_weight: (H, H) or None.
        pre_bias: (H,) or None.
        post_weight: (H, H) or None.
        post_bias: (H,) or None.
        map_norm: BatchNorm2d, SyncMapNorm, LayerNorm over the heads, or None.
        mix_scale: Factor of the mixed and normalised maps, or a tensor, ().
        dropout_p: In [0, 1); 0 outside training.
        dropout_position: ``'softmax'`` or ``'mix'``.
        backend: See above.
        block_rows: Query rows of a block of ``'blockwise'``; None chooses by shape and cache.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        TypeError: An input is no floating-point tensor.
        ValueError: A shape, dtype, device or number does not fit; or the backend is unknown or
            cannot do what is asked.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    settings = CallSettings(
        scale,
        pre_weight,
        pre_bias,
        post_weight,
        post_bias,
        map_norm,
        mix_scale,
        dropout_p,
        dropout_position,
    )
    if not is_exporting():  # whose sizes may be symbols
        check_inputs(q, k, v, settings, block_rows)
    return _attend(q, k, v, settings, backend, block_rows)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    settings: CallSettings,
    backend: Backend,
    block_rows: int | None,
) -> Tensor:
    # Compilers cannot watch a context variable.
    receive = None if torch.compiler.is_compiling() else _observer.get()
    if backend == "auto" and receive is None:
        if settings.changes_nothing:
            p, scale = settings.dropout_p, settings.scale
            return F.scaled_dot_product_attention(q, k, v, dropout_p=p, scale=scale)
        backend = _choose(q, k, v, settings)
    if backend == "fused" and receive is None:
        return fused.fused_attention(q, k, v, settings)
    if backend == "native" and receive is None:
        return native.native_attention(q, k, v, settings)
    if backend == "blockwise" and receive is None:
        return blockwise_attention(q, k, v, settings, block_rows)
    out, maps = explicit_attention(q, k, v, settings)
    if receive is not None:
        receive(maps)
    return out


def _choose(q: Tensor, k: Tensor, v: Tensor, settings: CallSettings) -> Backend:
    """What ``'auto'`` takes where something is mixed."""
    if unsupported(settings) or is_exporting():
        return "explicit"
    if q.is_cuda and fused.serves(q, k, v, settings):
        return "fused"
    return "explicit" if _small_maps(q) else "blockwise"


@contextmanager
def observe_maps(receive: Callable[[AttentionMaps], Any]) -> Iterator[None]:
    """Hand the maps of every attention call in this thread to a function, as they are made.

    Maps are large: measure and drop them, or collect those of a small input with a list's append::

        maps = []
        with torch.no_grad(), observe_maps(maps.append):
            backbone(images)
        maps[-1].probabilities  # P of the last block, (B, H, N, N)

    Args:
        receive: Takes P and A of one call; calls come in the order of the blocks. Under
            ``with_cp`` a backward pass inside the context calls it again. Code that
            ``torch.compile`` has compiled is not seen.
    """
    token = _observer.set(receive)
    try:
        yield
    finally:
        _observer.reset(token)


def _small_maps(q: Tensor) -> bool:
    batch, heads, tokens, _ = q.shape
    return batch * heads * tokens**2 * max(q.element_size(), 4) <= SMALL_MAPS_BYTES
