"""Entry to head-mixing attention: it picks a backend and shows the maps to observers.

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

#: Ways to compute head-mixing attention; see :func:`head_mixing_attention`.
Backend = Literal["auto", "explicit", "blockwise", "native", "fused"]
BACKENDS: tuple[str, ...] = get_args(Backend)

#: Size of all maps of a call, up to which they stay in a cache and building them is fastest.
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
    """Compute attention whose maps may be mixed across heads.

    All backends give the same results up to rounding, but dropout draws other random numbers:

    * ``'explicit'`` builds several (B, H, N, N) maps.
    * ``'blockwise'`` streams over blocks of query rows; its memory grows with N.
    * ``'native'`` streams over tiles in compiled code on CPUs: fp16, bf16 or fp32, computed in
      fp32; at most 32 heads of width 128.
    * ``'fused'`` streams over tiles in Triton kernels on NVIDIA GPUs: fp16, bf16 or fp32, at most
      32 heads of width 128, no dropout.
    * ``'auto'`` takes the first of these that fits:

      1. if nothing is mixed, ``'native'`` for large calls on CPUs (see
         :func:`~mmseg_deepvit.attention.native.outruns_pytorch`), else PyTorch's
         ``scaled_dot_product_attention``;
      2. ``'explicit'``, in exports and for calls that the others refuse, such as dropout of
         normalised maps;
      3. ``'native'``, if it supports the call and was compiled when the package was installed;
      4. ``'fused'``, if it supports the call and a trial on this GPU agreed with ``'blockwise'``;
      5. ``'explicit'``, if all maps of the call take at most 2 MiB;
      6. ``'blockwise'``.

    Inside :func:`observe_maps` the backend is always ``'explicit'``. Only ``'explicit'`` has second
    derivatives, and PyTorch's attention where it builds maps.
    :class:`~mmseg_deepvit.attention.call_settings.CallSettings` tells how ``scale`` and
    the arguments up to ``dropout_position`` act on the maps.

    Args:
        q: Queries, (B, H, N, d), any floating dtype.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        scale: Factor of the logits, usually d^-½.
        pre_weight: Mix of the logits, (H, H), or None.
        pre_bias: Bias of the mixed logits, (H,), or None.
        post_weight: Mix of the probabilities, (H, H), or None.
        post_bias: Bias of the mixed probabilities, (H,), or None.
        map_norm: BatchNorm2d, SyncMapNorm, LayerNorm over the heads, or None.
        mix_scale: Factor of the mixed and normalised maps; a number or a tensor, ().
        dropout_p: Probability of dropping an entry, in [0, 1); 0 outside training.
        dropout_position: Maps that dropout acts on, ``'softmax'`` or ``'mix'``.
        backend: Name of a backend, see above.
        block_rows: Number of query rows in a block of ``'blockwise'``; None chooses it by the
            shape and the cache.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        TypeError: An input is no floating-point tensor.
        ValueError: A shape, dtype, device or number does not fit, or the backend is unknown or
            does not support the call.
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
    if not is_exporting():  # sizes in exports may be symbols
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
        chosen = _choose(q, k, v, settings)
        if chosen == "pytorch":
            p, scale = settings.dropout_p, settings.scale
            return F.scaled_dot_product_attention(q, k, v, dropout_p=p, scale=scale)
        backend = chosen
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


def _choose(
    q: Tensor, k: Tensor, v: Tensor, settings: CallSettings
) -> Backend | Literal["pytorch"]:
    """Choose the backend of ``'auto'``."""
    if settings.changes_nothing:
        return "native" if native.outruns_pytorch(q, k, v, settings) else "pytorch"
    if unsupported(settings) or is_exporting():
        return "explicit"
    if q.device.type == "cpu" and native.serves(q, k, v, settings):
        return "native"
    if q.is_cuda and fused.serves(q, settings):
        return "fused"
    return "explicit" if _small_maps(q) else "blockwise"


@contextmanager
def observe_maps(receive: Callable[[AttentionMaps], Any]) -> Iterator[None]:
    """Pass the maps of every attention call in this thread to a function.

    Maps are large. Measure and drop them, or collect the maps of a small input in a list::

        maps = []
        with torch.no_grad(), observe_maps(maps.append):
            backbone(images)
        maps[-1].probabilities  # P of the last block, (B, H, N, N)

    Args:
        receive: Function of the maps P and A of one call, called in the order of the blocks. A
            backward pass inside the context calls it again under ``with_cp``. Code compiled by
            ``torch.compile`` does not call it.
    """
    token = _observer.set(receive)
    try:
        yield
    finally:
        _observer.reset(token)


def _small_maps(q: Tensor) -> bool:
    batch, heads, tokens, _ = q.shape
    return batch * heads * tokens**2 * max(q.element_size(), 4) <= SMALL_MAPS_BYTES
