"""Launches of Triton programs, with tiles for which the device has room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
from torch import Tensor
from triton.runtime.errors import OutOfResources

from ..streaming.gradients import Coupling
from ..streaming.pass_settings import PassSettings
from . import kernels
from .tiles import Maps, Mixes, Plan, Tokens


@dataclass(frozen=True)
class Tiling:
    """Tile of a program, and the resources of the program.

    Attributes:
        rows: Number of query rows in a tile, a power of two, at least 16.
        columns: Number of keys in a tile, a power of two, at least 16.
        warps: Number of groups of 32 threads that share a program.
        stages: Number of tiles of keys and values that are loaded ahead.
    """

    rows: int
    columns: int
    warps: int
    stages: int


#: Tilings to try, from the fastest to the smallest. Larger ones spill registers
#: (``tests/attention/gpu_compilation.py`` shows it).
TILINGS = (Tiling(16, 32, 8, 2), Tiling(16, 16, 8, 2), Tiling(16, 16, 8, 1))
#: Tilings to try for programs that hold several sums and spill sooner.
NARROW_TILINGS = TILINGS[1:]

#: Tilings that fitted, by program, plan and device.
_fitting: dict[tuple[Any, Plan, torch.device], Tiling] = {}


class Launch:
    """Launches of programs for the maps of one call.

    Args:
        q: Queries, (B, H, N, d).
        k: Keys, (B, H, N, d).
        settings: Settings of the maps.
        lse: Log-sum-exp of the rows, (B, 1, H, N).
        coupling: Coupling of batch statistics in the backward pass, or None.
    """

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        settings: PassSettings,
        lse: Tensor,
        coupling: Coupling | None = None,
    ) -> None:
        self._batch, heads, self._tokens, width = q.shape
        self._lse, norm = lse, settings.norm
        self._plan = make_plan(q, settings, coupling is not None)
        pre, post = (lse if w is None else w.contiguous() for w in (settings.pre, settings.post))
        self._maps = Maps(as_tokens(q), as_tokens(k), lse, pre, settings.scale, self._tokens)
        #: Mixes and norm of the probabilities, as programs take them.
        self.mixes = Mixes(
            post,
            lse if norm is None else norm.weight,
            lse.new_zeros(heads) if norm is None or norm.map_bias is None else norm.map_bias,
            lse if coupling is None else coupling.products.contiguous(),
            0.0 if norm is None else norm.eps,
        )
        self._chunks = triton.cdiv(width, self._plan.W)

    def over_rows(self, kernel: Any, *args: Any, shares: tuple[int, ...] = ()) -> list[Tensor]:
        """Run a program for each block of query rows of each image.

        Args:
            kernel: Triton program that takes the maps, ``args``, the shares and the plan.
            args: Further arguments of the program.
            shares: Dimensions of the shares of sums that each program writes: 1 for (H,), 2 for
                (H, H).

        Returns:
            The shares, (programs, H) or (programs, H, H).
        """
        return self._run(kernel, args, shares, lambda tiling: (tiling.rows,))

    def over_row_chunks(
        self, kernel: Any, *args: Any, shares: tuple[int, ...] = ()
    ) -> list[Tensor]:
        """Run a program for each chunk of widths of each block of query rows."""
        return self._run(kernel, args, shares, lambda tiling: (tiling.rows, self._chunks))

    def over_key_chunks(self, kernel: Any, *args: Any) -> list[Tensor]:
        """Run a program for each chunk of widths of each block of keys."""
        return self._run(kernel, args, (), lambda tiling: (tiling.columns, self._chunks))

    def _run(
        self,
        kernel: Any,
        args: tuple[Any, ...],
        shares: tuple[int, ...],
        cut: Callable[[Tiling], tuple[int, ...]],
    ) -> list[Tensor]:
        key = (kernel, self._plan, self._lse.device)
        tilings = (_fitting[key],) if key in _fitting else tilings_of(kernel)
        for tiling in tilings:
            size, *chunks = cut(tiling)
            blocks = triton.cdiv(self._tokens, size)
            made = [self._shares(blocks, dimensions) for dimensions in shares]
            plan = replace(self._plan, R=tiling.rows, C=tiling.columns)
            try:
                kernel[(blocks, *chunks, self._batch)](
                    self._maps, *args, *made, plan, num_warps=tiling.warps, num_stages=tiling.stages
                )
            except OutOfResources:
                if tiling == tilings[-1]:
                    raise
                continue
            _fitting[key] = tiling
            return made
        raise AssertionError("there is a tiling")

    def _shares(self, blocks: int, dimensions: int) -> Tensor:
        heads = self._plan.heads
        return self._lse.new_empty(blocks * self._batch, *[heads] * dimensions)


def tilings_of(kernel: Any) -> tuple[Tiling, ...]:
    """Return the tilings to try for a program, in order."""
    narrow = (kernels.query_gradients, kernels.key_gradients)
    return NARROW_TILINGS if kernel in narrow else TILINGS


def make_plan(q: Tensor, settings: PassSettings, coupled: bool) -> Plan:
    """Make the plan of a call's programs, without the size of tiles."""
    heads, width = q.shape[1], q.shape[3]
    half = q.dtype != torch.float32
    filled = max(16, triton.next_power_of_2(heads))
    # Tiles of queries, keys and values have H · W numbers for each token.
    widest = (1024 if half else 512) // filled
    return Plan(
        heads=heads,
        width=width,
        H=filled,
        R=0,
        C=0,
        W=min(max(16, triton.next_power_of_2(width)), widest),
        pre=settings.pre is not None,
        post=settings.post is not None,
        layer_norm=settings.norm is not None,
        centred=settings.centred,
        coupled=coupled,
        precision="tf32" if half else "ieee",
        precise="tf32x3" if half else "ieee",
        widen=q.device.type == "cpu",
    )


def as_tokens(x: Tensor) -> Tokens:
    """Wrap a (B, H, N, d) tensor for programs; copy it if its widths are not contiguous."""
    if x.stride(-1) != 1:
        x = x.contiguous()
    return Tokens(x, *x.stride()[:3])
