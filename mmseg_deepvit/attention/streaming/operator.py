"""PyTorch operators of the passes: ``mmseg_deepvit::streamed`` and ``streamed_backward``.

``torch.compile`` and autocast do not look into an operator, so it breaks no graph. These operators
have no second derivative. A dispatch of an operator in Python takes as long as a small call, so
calls that nobody watches go through an autograd function instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import Function

from ..explicit import without_autocast
from ..map_statistics import BatchStatistics, mixed_moments, pack_sums
from ..sync_norm import sum_over
from .gradients import Coupling, Gradients
from .pass_settings import Dropout, LayerNormOverHeads, PassSettings
from .row_split import RowSplit


def totals(grad: Tensor, out: Tensor, v: Tensor) -> Tensor:
    """Sum what the batch statistics of maps need to know of a gradient before the backward pass.

    Args:
        grad: Gradient of the output, (B, N, H, d).
        out: Output, (B, N, H, d).
        v: Values, (B, H, N, d).

    Returns:
        For each head h the sum Σ dO_h · O_h over images, tokens and widths, and the sum over images
        of Σ_i dO_h[i] · Σ_j V_h[j]; (2, H) in float64.
    """
    grad_dot_out = (grad.double() * out.double()).sum((0, 1, 3))
    grad_bias = grad.sum(1, dtype=torch.float64) * v.sum(2, dtype=torch.float64)
    return torch.stack([grad_dot_out, grad_bias.sum((0, 2))])


@dataclass(frozen=True)
class StreamingBackend:
    """Passes of a backend; :mod:`mmseg_deepvit.attention.blockwise` documents their arguments.

    Passes must accept calls without images. They never get images without tokens.

    Attributes:
        map_dtype: Function of the queries, and of whether the maps need batch statistics, that
            returns the dtype of the maps.
        moments: Function of (q, k, settings, rows, lse) that returns the sums of P and of its
            products between heads. It fills in ``lse``, the (B, n, H, R) log-sum-exp of the rows
            of logits.
        forward: Function of (q, k, v, settings, rows, lse, lse_known) that returns the output,
            (B, N, H, d).
        backward: Function of (grad, q, k, v, settings, rows, lse, coupling) that returns the
            gradients.
        totals: Function of (grad, out, v) that returns two sums over images, as :func:`totals`
            does; grad and out are (B, N, H, d).
        reads_out: Whether ``backward`` takes the output as its last argument, which calls that mix
            nothing need.
    """

    map_dtype: Callable[[Tensor, bool], torch.dtype]
    moments: Callable[..., tuple[Tensor, Tensor]]
    forward: Callable[..., Tensor]
    backward: Callable[..., Gradients]
    totals: Callable[[Tensor, Tensor, Tensor], Tensor] = totals
    reads_out: bool = False


#: Backends by name; each registers itself.
STREAMING_BACKENDS: dict[str, StreamingBackend] = {}

_PARAMETERS = (
    "Tensor q, Tensor k, Tensor v, Tensor? pre_weight, Tensor? pre_bias, Tensor? post_weight, "
    "Tensor? post_bias, Tensor? norm_weight, Tensor? norm_bias, Tensor? seed, float scale, "
    "str norm, float eps, float dropout_p, bool dropout_after_mix, int block_rows, str group, "
    "str passes"
)


_Prepared: TypeAlias = "tuple[BatchStatistics | None, PassSettings]"


@dataclass(frozen=True)
class _Call:
    """Arguments of both operators, in the order of ``_PARAMETERS``."""

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
        """Settings of the passes, with all tensors in the dtype of the maps."""
        norm = dropout = None
        if self.seed is not None:
            dropout = Dropout(self.dropout_p, int(self.seed), self.dropout_after_mix)
        post, bias = self.post_weight, self.post_bias
        if statistics is not None:
            post = statistics.weight_folded
            bias = statistics.bias if dropout is None else statistics.bias_folded
        elif self.norm == "layer":
            weight = self.cast(self.norm_weight)
            assert weight is not None
            norm = LayerNormOverHeads(weight, self.cast(bias), self.eps)
            bias = self.norm_bias
        centred = statistics is not None and dropout is None
        pre, post, bias = map(self.cast, (self.pre_weight, post, bias))
        return PassSettings(self.scale, pre, post, bias, norm, dropout, centred)

    def statistics(self, moments: Tensor) -> BatchStatistics | None:
        """Statistics of the batch from its moments; None if no norm needs them."""
        if self.norm != "batch":
            return None
        post, weight, bias = self.post_weight, self.norm_weight, self.norm_bias
        assert post is not None
        assert weight is not None
        assert bias is not None
        return BatchStatistics.of(moments, post, weight, bias, self.eps)

    def prepared(self, moments: Tensor) -> _Prepared:
        """Statistics and settings of the passes that follow the moments."""
        statistics = self.statistics(moments)
        return statistics, self.settings(statistics)

    @cached_property
    def dtype(self) -> torch.dtype:
        """Dtype of the maps."""
        return STREAMING_BACKENDS[self.passes].map_dtype(self.q, self.norm == "batch")

    @cached_property
    def rows(self) -> RowSplit:
        """Division of the query rows into blocks."""
        return RowSplit(self.q.shape[2], self.block_rows)

    @property
    def needs_out(self) -> bool:
        """Whether the backward pass needs the output."""
        mixes = self.pre_weight is not None or self.post_weight is not None
        reads_out = STREAMING_BACKENDS[self.passes].reads_out
        return self.norm == "batch" or (reads_out and not mixes)

    def empty_lse(self) -> Tensor:
        """Memory for the log-sum-exp of the rows, (B, n, H, R)."""
        batch, heads, _, _ = self.q.shape
        return self.q.new_empty(batch, self.rows.blocks, heads, self.rows.size, dtype=self.dtype)

    def cast(self, tensor: Tensor | None) -> Tensor | None:
        """The tensor in the dtype of the maps."""
        return None if tensor is None else tensor.to(self.dtype)


def _forward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the output and the tensors that the backward pass needs.

    Returns:
        The output, (B, N, H, d); the log-sum-exp of the rows, (B, n, H, R); what
        :func:`~mmseg_deepvit.attention.map_statistics.mixed_moments` gives, empty without batch
        statistics.
    """
    return _run(_Call(*args))[:3]


def _run(call: _Call) -> tuple[Tensor, Tensor, Tensor, _Prepared]:
    passes = STREAMING_BACKENDS[call.passes]
    lse = call.empty_lse()
    with without_autocast(call.q.device.type):
        if call.norm == "batch":
            assert call.post_weight is not None
            first, second = passes.moments(call.q, call.k, call.settings(None), call.rows, lse)
            entries = len(call.q) * call.rows.tokens**2
            sums = sum_over(call.group, pack_sums(entries, first, second))
            moments = mixed_moments(sums, call.post_weight)
        else:
            moments = lse.new_empty(0, dtype=torch.float64)
        prepared = call.prepared(moments)
        known = call.norm == "batch"
        out = passes.forward(call.q, call.k, call.v, prepared[1], call.rows, lse, known)
    return out, lse, moments, prepared


_forward_operator = torch.library.custom_op(
    "mmseg_deepvit::streamed",
    _forward,
    mutates_args=(),
    schema=f"({_PARAMETERS}) -> (Tensor, Tensor, Tensor)",
)


@_forward_operator.register_fake
def _(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    call = _Call(*args)
    batch, heads, tokens, _ = call.q.shape
    moments = (4 + heads, heads) if call.norm == "batch" else (0,)
    return (
        call.v.new_empty(batch, tokens, heads, call.v.shape[-1]),
        call.empty_lse(),
        call.q.new_empty(moments, dtype=torch.float64),
    )


_NAMES = [part.split()[-1] for part in _PARAMETERS.split(", ")]
#: Arguments that have gradients: all tensors except the seed.
_DIFFERENTIABLE = _NAMES[: _NAMES.index("seed")]


def _backward(
    call: _Call, prepared: _Prepared, grad: Tensor, out: Tensor, lse: Tensor
) -> list[Tensor | None]:
    """Compute the gradients of the differentiable arguments; None for each None."""
    passes = STREAMING_BACKENDS[call.passes]
    statistics, settings = prepared
    with without_autocast(call.q.device.type):
        coupling = None if statistics is None else _coupling(call, statistics, grad, out)
        more = (out,) if passes.reads_out else ()
        found = passes.backward(
            grad, call.q, call.k, call.v, settings, call.rows, lse, coupling, *more
        )
    gradients = {"q": found.q, "k": found.k, "v": found.v, "pre_weight": found.pre}
    if statistics is not None:
        assert found.post is not None
        assert found.bias is not None
        grad_weight = found.post
        if not settings.centred:  # the pass held the folded bias constant
            grad_weight = grad_weight - found.bias[:, None] * statistics.first
        post, gamma = statistics.parameter_gradients(grad_weight)
        gradients.update(post_weight=post, norm_weight=gamma, norm_bias=found.bias)
    elif call.norm == "layer":
        gradients.update(post_weight=found.post, post_bias=found.norm_bias)
        gradients.update(norm_weight=found.norm_weight, norm_bias=found.bias)
    else:
        gradients.update(post_weight=found.post, post_bias=found.bias)
    arguments = {name: getattr(call, name) for name in _DIFFERENTIABLE}
    return [
        None if argument is None else _like(argument, gradients.get(name))
        for name, argument in arguments.items()
    ]


def _like(argument: Tensor, gradient: Tensor | None) -> Tensor:
    """Cast a gradient to its argument's dtype; None, of no dependence, gives zeros."""
    return torch.zeros_like(argument) if gradient is None else gradient.to(argument.dtype)


def _coupling(call: _Call, statistics: BatchStatistics, grad: Tensor, out: Tensor) -> Coupling:
    """Compute the share of the batch statistics in the gradient of P, before the pass."""
    own = STREAMING_BACKENDS[call.passes].totals(grad, out, call.v)
    # Rows of P sum to one unless they are dropped out, so the softmax cancels a constant.
    grad_dot_out, grad_bias = sum_over(call.group, own).unbind()
    products, constant = statistics.reach(grad_dot_out, grad_bias, call.seed is not None)
    return Coupling(products.to(call.dtype), call.cast(constant))


def _backward_of_tensors(
    grad: Tensor, out: Tensor, lse: Tensor, moments: Tensor, *args: Any
) -> tuple[Tensor, ...]:
    """:func:`_backward` with an empty gradient for each None, which operators cannot return."""
    call = _Call(*args)
    found = _backward(call, call.prepared(moments), grad, out, lse)
    return tuple(grad.new_empty(0) if x is None else x for x in found)


_backward_operator = torch.library.custom_op(
    "mmseg_deepvit::streamed_backward",
    _backward_of_tensors,
    mutates_args=(),
    schema=f"(Tensor grad, Tensor out, Tensor lse, Tensor moments, {_PARAMETERS}) "
    f"-> ({', '.join(['Tensor'] * len(_DIFFERENTIABLE))})",
)


@_backward_operator.register_fake
def _(grad: Tensor, out: Tensor, lse: Tensor, moments: Tensor, *args: Any) -> tuple[Tensor, ...]:
    return tuple(
        grad.new_empty(0) if argument is None else torch.empty_like(argument)
        for argument in args[: len(_DIFFERENTIABLE)]
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    out, lse, moments = output
    ctx.options = inputs[len(_DIFFERENTIABLE) + 1 :]
    kept_out = out if _Call(*inputs).needs_out else None
    ctx.save_for_backward(kept_out, lse, moments, *inputs[: len(_DIFFERENTIABLE) + 1])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    kept_out, lse, moments, *tensors = ctx.saved_tensors
    unused = (None,) * len(_NAMES)
    if grad is None:
        return unused
    out = grad if kept_out is None else kept_out
    # A graph of the backward pass, if it is wanted, must hold the operator that refuses its own.
    if torch.is_grad_enabled() or _is_watched(grad):
        operator = torch.ops.mmseg_deepvit.streamed_backward
        found = operator(grad, out, lse, moments, *tensors, *ctx.options)
        found = [None if tensors[i] is None else gradient for i, gradient in enumerate(found)]
    else:
        call = _Call(*tensors, *ctx.options)
        prepared = getattr(ctx, "prepared", None) or call.prepared(moments)
        found = _backward(call, prepared, grad, out, lse)
    return (*found, *unused[len(found) :])


def _refuse(ctx: Any, *grads: Tensor) -> NoReturn:
    raise RuntimeError(
        "streamed attention has no second derivative; use backend='explicit' of "
        "head_mixing_attention, or attn_backend of a backbone"
    )


_forward_operator.register_autograd(_differentiate, setup_context=_setup_context)
_backward_operator.register_autograd(_refuse)


class _Streamed(Function):
    """The operator without its dispatch."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
        out, lse, moments, ctx.prepared = _run(_Call(*args))
        _setup_context(ctx, args, (out, lse, moments))
        ctx.mark_non_differentiable(lse, moments)
        return out, lse, moments

    backward = staticmethod(_differentiate)


def is_plain(q: Tensor) -> bool:
    """Whether neither a dispatch mode nor the kind of tensor must see what is done to it."""
    if type(q) not in (Tensor, nn.Parameter):
        return False
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() == 0


def _is_watched(q: Tensor) -> bool:
    """Whether a compiler, a dispatch mode, a profiler or a kind of tensor must see the operator."""
    return torch.compiler.is_compiling() or not is_plain(q) or torch.autograd._profiler_enabled()


def streamed(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Take arguments as ``_PARAMETERS`` names them and return the results of :func:`_forward`."""
    if _is_watched(args[0]):
        function: Callable[..., Any] = _forward_operator
    else:
        function = _Streamed.apply if torch.is_grad_enabled() else _forward
    result: tuple[Tensor, Tensor, Tensor] = function(*args)
    return result
