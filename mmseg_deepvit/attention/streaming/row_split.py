"""How query rows are cut into blocks of one shape."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RowSplit:
    """How N query rows are cut into n blocks of R.

    Attributes:
        tokens: N, at least 1.
        size: R, in [1, N].
    """

    tokens: int
    size: int

    @property
    def blocks(self) -> int:
        """N."""
        return -(-self.tokens // self.size)

    @property
    def last(self) -> int:
        """Rows of the last block that are there, 1 to R."""
        return self.tokens - (self.blocks - 1) * self.size

    def split(self, x: Tensor, out: Tensor) -> None:
        """(H, N, c) rows into the (n, H, R, c) of ``out``, filled up with zeros."""
        whole = (self.blocks - 1) * self.size
        if whole:
            out[:-1] = x[:, :whole].unflatten(1, (-1, self.size)).transpose(0, 1)
        out[-1, :, : self.last] = x[:, whole:]
        out[-1, :, self.last :] = 0

    def join(self, blocks: Tensor, out: Tensor) -> None:
        """(n, H, R, c) blocks into the (H, N, c) rows of ``out``."""
        whole = (self.blocks - 1) * self.size
        if whole:
            out[:, :whole].unflatten(1, (-1, self.size)).copy_(blocks[:-1].transpose(0, 1))
        out[:, whole:] = blocks[-1, :, : self.last]
