"""The passes of native attention: each hands its tensors to the compiled one."""

from __future__ import annotations

import torch
from torch import Tensor

from ..streaming.gradients import Coupling, Gradients, empty_gradients
from ..streaming.pass_settings import PassSettings
from ..streaming.row_split import RowSplit
from . import library
from .library import Array, Call

MOMENTS, FORWARD, BACKWARD, TOTALS = range(4)


def moments(
    q: Tensor, k: Tensor, settings: PassSettings, rows: RowSplit, lse: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums of the probabilities and of their products between heads, over images and entries.

    Args:
        q: (B, H, N, d), fp32, fp16 or bf16.
        k: (B, H, N, d).
        settings: What happens to the maps before the post mix.
        rows: One block of N.
        lse: (B, 1, H, N), fp32, filled in with the log-sum-exp of the rows.

    Returns:
        Σ P_h, (H,), and Σ P_h P_g, (H, H), in float64, of the maps that the post mix sees.
    """
    heads = q.shape[1]
    first = lse.new_empty(heads, dtype=torch.float64)
    second = lse.new_empty(heads, heads, dtype=torch.float64)
    call = _Arguments.of_maps(q, k, settings, lse)
    call.point(first=first, second=second)
    call.run(MOMENTS)
    return first, second


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    settings: PassSettings,
    rows: RowSplit,
    lse: Tensor,
    lse_known: bool,
) -> Tensor:
    """Outputs of head-mixing attention.

    Args:
        q: (B, H, N, d), fp32, fp16 or bf16.
        k: (B, H, N, d).
        v: (B, H, N, d).
        settings: What happens to the maps.
        rows: One block of N.
        lse: (B, 1, H, N), fp32; filled in unless it is known already.
        lse_known: Whether it is.

    Returns:
        (B, N, H, d) in the dtype of ``v``.
    """
    out = v.new_empty(v.transpose(1, 2).shape)
    call = _Arguments.of_maps(q, k, settings, lse)
    call.arrays(v=v, out=out.transpose(1, 2))
    call.call.lse_known = lse_known
    call.run(FORWARD)
    return out


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    settings: PassSettings,
    rows: RowSplit,
    lse: Tensor,
    coupling: Coupling | None = None,
    out: Tensor | None = None,
) -> Gradients:
    """Gradients of head-mixing attention in one pass over the blocks.

    Args:
        grad: Of the output, (B, N, H, d).
        q: (B, H, N, d), fp32, fp16 or bf16.
        k: (B, H, N, d).
        v: (B, H, N, d).
        settings: As in the forward pass.
        rows: One block of N.
        lse: (B, 1, H, N), as the forward pass left it.
        coupling: Of batch statistics, or None.
        out: The output, (B, N, H, d), of a call that mixes nothing.

    Returns:
        The gradients.
    """
    found = empty_gradients(q, k, v, settings)
    call = _Arguments.of_maps(q, k, settings, lse)
    call.arrays(v=v, grad=grad.transpose(1, 2), grad_q=found.q, grad_k=found.k, grad_v=found.v)
    if settings.pre is None and settings.post is None:
        assert out is not None
        call.arrays(out=out.transpose(1, 2))
    if coupling is not None:
        call.point(products=coupling.products, constant=coupling.constant)
    call.point(grad_pre=found.pre, grad_post=found.post, grad_bias=found.bias)
    call.point(grad_norm_weight=found.norm_weight, grad_norm_map_bias=found.norm_bias)
    call.call.lse_known = True
    call.run(BACKWARD)
    return found


def totals(grad: Tensor, out: Tensor, v: Tensor) -> Tensor:
    """:func:`mmseg_deepvit.attention.streaming.operator.totals` in compiled code."""
    result = v.new_zeros(2, v.shape[1], dtype=torch.float64)
    call = _Arguments(v)
    call.arrays(v=v, grad=grad.transpose(1, 2), out=out.transpose(1, 2))
    call.point(totals=result)
    call.run(TOTALS)
    return result


class _Arguments:
    """A call for the compiled passes; holds the tensors that it points to."""

    def __init__(self, like: Tensor) -> None:
        self.call = Call(*like.shape)
        self._held: list[Tensor] = []

    @classmethod
    def of_maps(cls, q: Tensor, k: Tensor, settings: PassSettings, lse: Tensor) -> _Arguments:
        """Arguments that all passes over maps have."""
        arguments = cls(q)
        call, norm, dropout = arguments.call, settings.norm, settings.dropout
        arguments.arrays(q=q, k=k)
        arguments.point(lse=lse, pre=settings.pre, post=settings.post, bias=settings.bias)
        if norm is not None:
            arguments.point(norm_weight=norm.weight, norm_map_bias=norm.map_bias)
            call.eps = norm.eps
        if dropout is not None:
            call.seed, call.dropout_p = dropout.seed, dropout.p
            call.drops_mixed = dropout.after_mix
            call.drops_probabilities = not dropout.after_mix
        call.scale, call.centred = settings.scale, settings.centred
        return arguments

    def arrays(self, **tensors: Tensor) -> None:
        """Name (B, H, N, d) tensors of any strides."""
        for name, tensor in tensors.items():
            setattr(self.call, name, Array.of(tensor))
            self._held.append(tensor)

    def point(self, **tensors: Tensor | None) -> None:
        """Name small tensors, fp32 or float64 as ``call.h`` has them, or None."""
        for name, tensor in tensors.items():
            if tensor is not None:
                tensor = tensor.contiguous()
                setattr(self.call, name, tensor.data_ptr())
                self._held.append(tensor)

    def run(self, number: int) -> None:
        """Make a pass with the best instructions that this processor has."""
        library.run(self.call, number, library.AVAILABLE[0])
