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

from .blockwise import blockwise_head_mixing_attention, unsupported
from .explicit import (
    AttentionMaps,
    DropoutPosition,
    explicit_attention_maps,
    explicit_head_mixing_attention,
)

#: How head-mixing attention is computed; see :func:`head_mixing_attention`.
Backend = Literal["auto", "explicit", "blockwise"]
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
    mix_scale: float = 1.0,
    dropout_p: float = 0.0,
    dropout_position: DropoutPosition = "softmax",
    backend: Backend = "auto",
    block_rows: int | None = None,
) -> Tensor:
    """Attention whose maps may be mixed across heads, exactly, by the fastest way there is.

    Backends:

    * ``'explicit'`` builds all maps: (B, H, N, N) several times over.
    * ``'blockwise'`` streams over blocks of query rows: the same to rounding, O(N) memory.
    * ``'auto'`` takes PyTorch's ``scaled_dot_product_attention`` where nothing is mixed,
      ``'explicit'`` for maps of up to 2 MiB a call, for what ``'blockwise'`` does not do (a norm
      over maps that are then dropped out) and in exports, else ``'blockwise'``.

    Inside :func:`observe_maps`, ``'explicit'`` is taken whatever is said here.

    Args:
        q: Queries, (B, H, N, d), any floating dtype.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        scale: Factor of the logits, usually d^-½.
        pre_weight: (H, H) mix of the logits; row h makes head h. None for no mix.
        pre_bias: (H,), added to the mixed logits.
        post_weight: (H, H) mix of the probabilities. None for no mix.
        post_bias: (H,), added to the mixed probabilities.
        map_norm: BatchNorm2d or SyncBatchNorm over (B, N, N) for each head, LayerNorm over the
            heads of each entry, or None. In training mode a BatchNorm normalises by the batch and
            updates its running statistics.
        mix_scale: Factor of the mixed and normalised maps.
        dropout_p: Probability, in [0, 1), that an entry of the map is dropped; 0 outside training.
        dropout_position: ``'softmax'`` drops before the post mix, ``'mix'`` after all.
        backend: See above.
        block_rows: Query rows of a block of ``'blockwise'``; None chooses by shape and cache.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        ValueError: An unknown backend, or one that cannot do what is asked.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    arguments: dict[str, Any] = dict(
        scale=scale,
        pre_weight=pre_weight,
        pre_bias=pre_bias,
        post_weight=post_weight,
        post_bias=post_bias,
        map_norm=map_norm,
        mix_scale=mix_scale,
        dropout_p=dropout_p,
        dropout_position=dropout_position,
    )
    if (receive := _observer.get()) is not None:
        return _attend_observed(q, k, v, receive, **arguments)
    if backend == "auto":
        plain = pre_weight is None and post_weight is None and map_norm is None
        if plain and mix_scale == 1.0:
            return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p, scale=scale)
        cannot = unsupported(map_norm, post_weight, dropout_p, dropout_position)
        explicit = cannot or _small_maps(q) or _is_exporting()
        backend = "explicit" if explicit else "blockwise"
    if backend == "explicit":
        return explicit_head_mixing_attention(q, k, v, **arguments)
    return blockwise_head_mixing_attention(q, k, v, **arguments, block_rows=block_rows)


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
            ``with_cp`` a backward pass inside the context calls it again.
    """
    token = _observer.set(receive)
    try:
        yield
    finally:
        _observer.reset(token)


def _attend_observed(
    q: Tensor, k: Tensor, v: Tensor, receive: Callable[[AttentionMaps], Any], **arguments: Any
) -> Tensor:
    with torch.autocast(q.device.type, enabled=False):
        maps = explicit_attention_maps(q, k, **arguments)
        out = (maps.mixed @ v.to(maps.mixed.dtype)).to(v.dtype)
    receive(maps)
    return out


def _small_maps(q: Tensor) -> bool:
    batch, heads, tokens, _ = q.shape
    return batch * heads * tokens**2 * max(q.element_size(), 4) <= SMALL_MAPS_BYTES


def _is_exporting() -> bool:
    """Whether the call is traced into a format that knows standard operators only."""
    is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # PyTorch ≥ 2.7
    return torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or is_exporting()
