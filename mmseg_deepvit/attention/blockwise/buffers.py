"""Memory for temporary tensors of a blockwise pass."""

from __future__ import annotations

from torch import Tensor

from ..streaming.row_split import RowSplit


class Buffers:
    """Tensors lent by name during one pass; a name gives the same tensor with its content again.

    Args:
        heads: Number of heads H.
        rows: Division of the query rows into blocks of R.
        like: Tensor with the dtype and device of the buffers.
    """

    def __init__(self, heads: int, rows: RowSplit, like: Tensor) -> None:
        self._map_shape = (heads, rows.size, rows.tokens)
        self._like = like
        self._made: dict[str, Tensor] = {}

    def lend(self, name: str, *shape: int) -> Tensor:
        """Lend a contiguous tensor; its default shape is that of a block of maps, (H, R, N)."""
        if name not in self._made:
            self._made[name] = self._like.new_empty(shape or self._map_shape)
        return self._made[name]

    def lend_pair(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lend a contiguous (2H, R, N) tensor, its first half and its second half."""
        heads, size, tokens = self._map_shape
        pair = self.lend("pair", 2 * heads, size, tokens)
        return pair, pair[:heads], pair[heads:]
