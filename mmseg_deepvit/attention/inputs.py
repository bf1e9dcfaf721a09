"""Checks of the inputs of head-mixing attention."""

from __future__ import annotations

from typing import get_args

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .call_settings import CallSettings, DropoutPosition


def check_inputs(
    q: Tensor, k: Tensor, v: Tensor, settings: CallSettings, block_rows: int | None
) -> None:
    """Check shapes, dtypes, devices and ranges.

    Args:
        q: Queries, (B, H, N, d), of a floating dtype.
        k: Keys, of the shape, dtype and device of ``q``.
        v: Values, likewise.
        settings: Settings of the call, with tensors on the device of ``q``.
        block_rows: Number of query rows in a block, at least 1, or None.

    Raises:
        TypeError: q, k or v is no tensor of a floating dtype.
        ValueError: A shape, device, dtype or number does not fit. The message says what was
            expected and what came.
    """
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise TypeError(f"{name} must be a floating-point tensor, got {_kind(tensor)}")
    if q.dim() != 4:
        raise ValueError(f"q must have the shape (B, H, N, d), got {tuple(q.shape)}")
    for name, tensor in (("k", k), ("v", v)):
        if tensor.shape != q.shape:
            raise ValueError(f"{name} must have q's shape {tuple(q.shape)}, got {_shape(tensor)}")
        if tensor.dtype != q.dtype:
            raise ValueError(f"{name} must have q's dtype {q.dtype}, got {tensor.dtype}")
        _check_device(name, tensor, q)
    _check_mixes(q, settings)
    _check_norm(q.shape[1], settings.map_norm)
    scale = settings.mix_scale
    if isinstance(scale, Tensor) and scale.dim():
        raise ValueError(f"mix_scale must be a number or a tensor (), got {_shape(scale)}")
    if not 0 <= settings.dropout_p < 1:
        raise ValueError(f"dropout_p must be in [0, 1), got {settings.dropout_p}")
    if settings.dropout_position not in get_args(DropoutPosition):
        expected = " or ".join(map(repr, get_args(DropoutPosition)))
        raise ValueError(f"dropout_position must be {expected}, got {settings.dropout_position!r}")
    if block_rows is not None and block_rows < 1:
        raise ValueError(f"block_rows must be at least 1, got {block_rows}")


def _check_mixes(q: Tensor, settings: CallSettings) -> None:
    heads = q.shape[1]
    for kind in ("pre", "post"):
        weight, bias = getattr(settings, f"{kind}_weight"), getattr(settings, f"{kind}_bias")
        if weight is None and bias is not None:
            raise ValueError(f"{kind}_bias needs a {kind}_weight; give both or neither")
        for name, tensor, shape in (("weight", weight, (heads, heads)), ("bias", bias, (heads,))):
            if tensor is None:
                continue
            if tuple(tensor.shape) != shape:
                raise ValueError(
                    f"{kind}_{name} must have the shape {shape} for {heads} heads, "
                    f"got {_shape(tensor)}"
                )
            _check_device(f"{kind}_{name}", tensor, q)


def _check_norm(heads: int, norm: nn.Module | None) -> None:
    width: tuple[int, ...] | None = None
    if isinstance(norm, _BatchNorm):
        width = (norm.num_features,)
    elif isinstance(norm, nn.LayerNorm):
        width = tuple(norm.normalized_shape)
    if width is not None and width != (heads,):
        raise ValueError(
            f"map_norm must normalise over {heads} heads, got a {type(norm).__name__} over {width}"
        )


def _check_device(name: str, tensor: Tensor, q: Tensor) -> None:
    if tensor.device != q.device:
        raise ValueError(f"{name} must be on q's device {q.device}, got {tensor.device}")


def _kind(value: object) -> str:
    return f"one of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
