"""Memory for temporary tensors of a blockwise pass, kept from call to call on a CPU.

Fresh memory costs a CPU a page fault for every 4 KiB, a fifth of the time at N = 1025. On other
devices PyTorch's allocator keeps memory itself.
"""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

from ..streaming.row_split import RowSplit

#: Largest size of the memory that a thread keeps, in bytes.
KEPT_BYTES = 128 * 2**20
_ALIGNMENT = 64

_kept = threading.local()


def release_buffers() -> None:
    """Free the memory that this thread keeps for its next pass."""
    _kept.memory = None


class Buffers:
    """Tensors lent by name during one pass; a name gives the same tensor with its content again.

    Buffers are a context. The thread's next pass reuses the memory, so no lent tensor may be used
    after the context ends.

    Args:
        heads: Number of heads H.
        rows: Division of the query rows into blocks of R.
        like: Tensor with the dtype and device of the buffers.
    """

    def __init__(self, heads: int, rows: RowSplit, like: Tensor) -> None:
        self._map_shape = (heads, rows.size, rows.tokens)
        self._dtype, self._device = like.dtype, like.device
        self._made: dict[str, Tensor] = {}
        self._used = 0

    def __enter__(self) -> Buffers:
        self._memory: Tensor | None = None
        if self._device.type == "cpu":
            # A pass within this pass must not get the same memory.
            self._memory, _kept.memory = getattr(_kept, "memory", None), None
        return self

    def __exit__(self, *error: object) -> None:
        self._made.clear()
        if self._device.type != "cpu":
            return
        have = 0 if self._memory is None else self._memory.numel()
        if have < self._used <= KEPT_BYTES:
            # In inference mode, the memory must still serve training later.
            with torch.inference_mode(False):
                self._memory = torch.empty(self._used, dtype=torch.uint8)
        _kept.memory = self._memory

    def lend(self, name: str, *shape: int) -> Tensor:
        """Lend a contiguous tensor; its default shape is that of a block of maps, (H, R, N)."""
        if name not in self._made:
            self._made[name] = self._empty(shape or self._map_shape)
        return self._made[name]

    def lend_pair(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lend a contiguous (2H, R, N) tensor, its first half and its second half."""
        heads, size, tokens = self._map_shape
        pair = self.lend("pair", 2 * heads, size, tokens)
        return pair, pair[:heads], pair[heads:]

    def _empty(self, shape: tuple[int, ...]) -> Tensor:
        size = math.prod(shape) * self._dtype.itemsize
        start = self._used
        self._used += -(-size // _ALIGNMENT) * _ALIGNMENT
        if self._memory is None or self._used > self._memory.numel():
            return torch.empty(shape, dtype=self._dtype, device=self._device)
        return self._memory[start : start + size].view(self._dtype).view(shape)
