"""Division of query rows into blocks of one shape."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowSplit:
    """Division of N query rows into n blocks of R rows.

    Attributes:
        tokens: Number N of query rows, at least 1.
        size: Number R of rows in a block, 1 to N.
    """

    tokens: int
    size: int

    @property
    def blocks(self) -> int:
        """Number n of blocks."""
        return -(-self.tokens // self.size)

    @property
    def last(self) -> int:
        """Number of true rows in the last block, 1 to R."""
        return self.tokens - (self.blocks - 1) * self.size

    def split(self, x: Tensor, out: Tensor) -> None:
        """Copy (H, N, c) rows into (n, H, R, c) blocks; zeros fill up the last block."""
        full = self.tokens - self.last
        if full:
            out[:-1] = torch.unflatten(x[:, :full], 1, (-1, self.size)).transpose(0, 1)
        out[-1, :, : self.last] = x[:, full:]
        out[-1, :, self.last :] = 0

    def join(self, blocks: Tensor, out: Tensor) -> None:
        """Copy (n, H, R, c) blocks into (H, N, c) rows."""
        full = self.tokens - self.last
        if full:
            torch.unflatten(out[:, :full], 1, (-1, self.size)).copy_(blocks[:-1].transpose(0, 1))
        out[:, full:] = blocks[-1, :, : self.last]
