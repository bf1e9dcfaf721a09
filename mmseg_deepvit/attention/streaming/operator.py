"""Passes over the maps as PyTorch operators: ``mmseg_deepvit::streamed`` and its backward.

Operators are opaque to ``torch.compile`` (no graph break) and to autocast. These have no second
derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..map_statistics import BatchStatistics, pack_sums
from ..sync_norm import sum_over
from .gradients import Coupling, Gradients
from .pass_settings import Dropout, LayerNormOverHeads, PassSettings
from .row_split import RowSplit


@dataclass(frozen=True)
class StreamingBackend:
    """What a backend does with the maps; see :mod:`mmseg_deepvit.attention.blockwise`.

    Attributes:
        map_dtype: From the queries and whether batch statistics matter: the dtype of the maps.
        moments: From (q, k, settings, rows, lse): sums of P and of its products between heads;
            fills in ``lse``, the (B, n, H, R) log-sum-exp of the logits' rows.
        forward: From (q, k, v, settings, rows, lse, lse_known): the output, (B, N, H, d).
        backward: From (grad, q, k, v, settings, rows, lse, coupling): the gradients.
    """

    map_dtype: Callable[[Tensor, bool], torch.dtype]
    moments: Callable[..., tuple[Tensor, Tensor]]
    forward: Callable[..., Tensor]
    backward: Callable[..., Gradients]


#: Backends' passes by name, entered where they are defined.
STREAMING_BACKENDS: dict[str, StreamingBackend] = {}

_PARAMETERS = (
    "Tensor q, Tensor k, Tensor v, Tensor? pre_weight, Tensor? pre_bias, Tensor? post_weight, "
    "Tensor? post_bias, Tensor? norm_weight, Tensor? norm_bias, Tensor? seed, float scale, "
    "str norm, float eps, float dropout_p, bool dropout_after_mix, int block_rows, str group, "
    "str passes"
)


@dataclass(frozen=True)
class _Call:
    """Arguments of the operators, in their order (see ``_PARAMETERS``)."""

    q: Tensor
    k: Tensor
    v: Tensor
    pre_weight: Tensor | None
    pre_bias: Tensor | None
    post_weight: Tensor | None
    post_bias: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None
    seed: Tensor | None
    scale: float
    norm: str
    eps: float
    dropout_p: float
    dropout_after_mix: bool
    block_rows: int
    group: str
    passes: str

    def settings(self, statistics: BatchStatistics | None) -> PassSettings:
        """What happens to the maps, in the dtype that they are computed in."""
        pre, post, bias = map(self._cast, (self.pre_weight, self.post_weight, self.post_bias))
        norm = dropout = None
        if self.seed is not None:
            dropout = Dropout(self.dropout_p, int(self.seed), self.dropout_after_mix)
        if statistics is not None:
            post = self._cast(statistics.weight_folded)
            bias = self._cast(statistics.bias if dropout is None else statistics.bias_folded)
        elif self.norm == "layer":
            weight = self._cast(self.norm_weight)
            assert weight is not None
            norm = LayerNormOverHeads(weight, bias, self.eps)
            bias = self._cast(self.norm_bias)
        centred = statistics is not None and dropout is None
        return PassSettings(self.scale, pre, post, bias, norm, dropout, centred)

    def statistics(self, sums: Tensor) -> BatchStatistics | None:
        """Of the batch, from its sums; None where they do not matter."""
        if self.norm != "batch":
            return None
        post, weight, bias = self.post_weight, self.norm_weight, self.norm_bias
        assert post is not None
        assert weight is not None
        assert bias is not None
        return BatchStatistics.from_sums(sums, post, weight, bias, self.eps)

    @property
    def dtype(self) -> torch.dtype:
        """What maps are computed in."""
        return STREAMING_BACKENDS[self.passes].map_dtype(self.q, self.norm == "batch")

    @property
    def rows(self) -> RowSplit:
        """How query rows are cut into blocks."""
        return RowSplit(self.q.shape[2], self.block_rows)

    def no_autocast(self) -> torch.autocast:
        """Maps are computed in full precision whatever autocast says."""
        return torch.autocast(self.q.device.type, enabled=False)

    def _cast(self, tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(self.dtype)


def _lse_shape(q: Tensor, rows: RowSplit) -> tuple[int, int, int, int]:
    return q.shape[0], rows.blocks, q.shape[1], rows.size


@torch.library.custom_op(
    "mmseg_deepvit::streamed",
    mutates_args=(),
    schema=f"({_PARAMETERS}) -> (Tensor, Tensor, Tensor)",
)
def _forward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Output (B, N, H, d), log-sum-exp by blocks, sums of moments (empty without BatchNorm)."""
    call = _Call(*args)
    passes = STREAMING_BACKENDS[call.passes]
    lse = call.q.new_empty(_lse_shape(call.q, call.rows), dtype=call.dtype)
    sums = lse.new_empty(0, dtype=torch.float64)
    with call.no_autocast():
        if call.norm == "batch":
            first, second = passes.moments(call.q, call.k, call.settings(None), call.rows, lse)
            entries = len(call.q) * call.rows.tokens**2
            sums = sum_over(call.group, pack_sums(entries, first, second))
        settings = call.settings(call.statistics(sums))
        known = call.norm == "batch"
        out = passes.forward(call.q, call.k, call.v, settings, call.rows, lse, known)
    return out, lse, sums


@_forward.register_fake
def _(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    call = _Call(*args)
    batch, heads, tokens, _ = call.q.shape
    sums = 1 + heads + heads**2 if call.norm == "batch" else 0
    return (
        call.v.new_empty(batch, tokens, heads, call.v.shape[-1]),
        call.q.new_empty(_lse_shape(call.q, call.rows), dtype=call.dtype),
        call.q.new_empty(sums, dtype=torch.float64),
    )


_NAMES = [part.split()[-1] for part in _PARAMETERS.split(", ")]
#: Arguments that have gradients: all tensors but the seed.
_DIFFERENTIABLE = _NAMES[: _NAMES.index("seed")]


@torch.library.custom_op(
    "mmseg_deepvit::streamed_backward",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor out, Tensor lse, Tensor sums, {_PARAMETERS}) "
    f"-> ({', '.join(['Tensor'] * len(_DIFFERENTIABLE))})",
)
def _backward(
    grad: Tensor, out: Tensor, lse: Tensor, sums: Tensor, *args: Any
) -> tuple[Tensor, ...]:
    """Gradients of the differentiable arguments; empty for those that are None."""
    call = _Call(*args)
    statistics = call.statistics(sums)
    with call.no_autocast():
        coupling = None if statistics is None else _coupling(call, statistics, grad, out)
        settings = call.settings(statistics)
        found = STREAMING_BACKENDS[call.passes].backward(
            grad, call.q, call.k, call.v, settings, call.rows, lse, coupling
        )
    gradients = {"q": found.q, "k": found.k, "v": found.v, "pre_weight": found.pre}
    if statistics is not None:
        assert found.post is not None
        assert found.bias is not None
        grad_weight = found.post
        if not settings.centred:  # b was held
            grad_weight = grad_weight - found.bias[:, None] * statistics.first
        post, gamma = statistics.parameter_gradients(grad_weight)
        gradients.update(post_weight=post, norm_weight=gamma, norm_bias=found.bias)
    elif call.norm == "layer":
        gradients.update(post_weight=found.post, post_bias=found.norm_bias)
        gradients.update(norm_weight=found.norm_weight, norm_bias=found.bias)
    else:
        gradients.update(post_weight=found.post, post_bias=found.bias)
    return tuple(
        grad.new_empty(0) if argument is None else _like(argument, gradients.get(name))
        for name, argument in zip(_DIFFERENTIABLE, args, strict=False)
    )


def _like(argument: Tensor, gradient: Tensor | None) -> Tensor:
    """The gradient in the argument's dtype; zeros if the result does not depend on it."""
    return torch.zeros_like(argument) if gradient is None else gradient.to(argument.dtype)


def _coupling(call: _Call, statistics: BatchStatistics, grad: Tensor, out: Tensor) -> Coupling:
    """What the batch's statistics add to the gradient of P, before the pass over the maps."""
    values = call.v.sum(2, dtype=torch.float64)
    grad_bias = (grad.sum(1, dtype=torch.float64) * values).sum((0, 2))
    grad_dot_out = (grad.double() * out.double()).sum((0, 1, 3))
    totals = sum_over(call.group, torch.stack([grad_dot_out, grad_bias]))
    grad_first, grad_second = statistics.reach(*totals)
    dtype = call.dtype
    products = (2 / statistics.count * grad_second).to(dtype)
    if call.seed is None:  # rows of P sum to one: the softmax does not see a constant
        return Coupling(products, None)
    return Coupling(products, (grad_first / statistics.count).to(dtype))


@_backward.register_fake
def _(grad: Tensor, out: Tensor, lse: Tensor, sums: Tensor, *args: Any) -> tuple[Tensor, ...]:
    return tuple(
        grad.new_empty(0) if argument is None else torch.empty_like(argument)
        for argument in args[: len(_DIFFERENTIABLE)]
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    out, lse, sums = output
    ctx.options = inputs[len(_DIFFERENTIABLE) + 1 :]
    kept_out = out if sums.numel() else None  # only batch statistics want the output
    ctx.save_for_backward(kept_out, lse, sums, *inputs[: len(_DIFFERENTIABLE) + 1])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    kept_out, lse, sums, *tensors = ctx.saved_tensors
    unused = (None,) * len(_NAMES)
    if grad is None:
        return unused
    out = grad if kept_out is None else kept_out
    found = torch.ops.mmseg_deepvit.streamed_backward(grad, out, lse, sums, *tensors, *ctx.options)
    gradients = [
        None if tensor is None else gradient
        for tensor, gradient in zip(tensors[: len(found)], found, strict=True)
    ]
    return (*gradients, *unused[len(gradients) :])


def _refuse(ctx: Any, *grads: Tensor) -> NoReturn:
    raise RuntimeError(
        "streamed attention has no second derivative; use backend='explicit' of "
        "head_mixing_attention, or attn_backend of a backbone"
    )


_forward.register_autograd(_differentiate, setup_context=_setup_context)
_backward.register_autograd(_refuse)

#: The operator; arguments as ``_PARAMETERS``, results as :func:`_forward` says.
streamed = _forward
