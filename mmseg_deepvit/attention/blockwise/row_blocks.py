"""Attention maps of one block of query rows at a time.

No full (N, N) map exists. Blocks share buffers for logits, probabilities and mixed maps. Row sums,
moments and gradients of the mixes are summed over the blocks. The passes use these facts:

* Rows of P are exp(S' − lse), where lse is the log-sum-exp of the row. The queries get −lse as one
  more column and the keys a row of ones, so one GEMM and one exp give P.
* ``pre_bias`` adds a constant to a row of logits, which the softmax cancels. No pass needs it.
* A bias b_h of the mixed maps adds b_h Σ_j V_h[j] to the output, so no pass adds it to maps.
* All blocks have the same shape, so buffers and views are made once. Queries of zeros fill up the
  last block; their rows of P are uniform and add nothing to gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..streaming.pass_settings import LayerNormOverHeads, PassSettings
from ..streaming.row_split import RowSplit
from .buffers import Buffers


class ImageBlocks:
    """Queries and keys of one image in a layout for which one GEMM gives a block of logits.

    Args:
        q: Queries, (H, N, d).
        k: Keys, (H, N, d).
        settings: Settings of the maps.
        rows: Division of the rows into n blocks of R.
        buffers: Buffers in the dtype of the maps.
        lse: Log-sum-exp of the rows of mixed logits, (n, H, R). :meth:`keep_lse` fills it in,
            :meth:`probabilities` uses it.
    """

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        settings: PassSettings,
        rows: RowSplit,
        buffers: Buffers,
        lse: Tensor,
    ) -> None:
        heads, tokens, width = q.shape
        self.heads, self.buffers, self.pre, self.lse = heads, buffers, settings.pre, lse
        self._augmented = buffers.lend("queries", rows.blocks, heads, rows.size, width + 1)
        #: Queries times the factor of the logits, (n, H, R, d).
        self.queries = self._augmented[..., :width]
        rows.split(q, self.queries)
        self.queries.mul_(settings.scale)
        self._keys = buffers.lend("keys", heads, width + 1, tokens)
        self._keys[:, :width] = k.transpose(1, 2)
        self._keys[:, width] = 1
        self._augmented[..., width] = 0

    def use_lse(self) -> None:
        """Make the GEMM subtract ``lse``, unless a pre mix follows it."""
        if self.pre is None:
            self._augmented[..., -1] = -self.lse

    def probabilities(self, i: int, out: Tensor) -> Tensor:
        """Compute P of block ``i`` from the known ``lse`` into ``out``, (H, R, N)."""
        if self.pre is None:
            return torch.bmm(self._augmented[i], self._keys, out=out).exp_()
        return self._logits(i, out).sub_(self.lse[i, :, :, None]).exp_()

    def start_exponentials(self) -> None:
        """Prepare for :meth:`exponentials`."""
        self.sums, self._highest = torch.empty_like(self.lse), torch.empty_like(self.lse)

    def exponentials(self, i: int, out: Tensor) -> Tensor:
        """Compute P of block ``i`` times ``sums[i]`` into ``out``, (H, R, N)."""
        self._logits(i, out)
        torch.amax(out, -1, out=self._highest[i])
        out.sub_(self._highest[i, :, :, None])
        torch.sum(out.exp_(), -1, out=self.sums[i])
        return out

    def keep_lse(self) -> None:
        """Fill in ``lse`` after :meth:`exponentials` of all blocks."""
        torch.log(self.sums, out=self.lse).add_(self._highest)

    def _logits(self, i: int, out: Tensor) -> Tensor:
        """Compute the mixed logits of block ``i``; the buffer 'raw' keeps them before a mix."""
        if self.pre is None:
            return torch.bmm(self._augmented[i], self._keys, out=out)
        raw = torch.bmm(self._augmented[i], self._keys, out=self.buffers.lend("raw"))
        return mix(self.pre, raw, out)


def mix(weight: Tensor, maps: Tensor, out: Tensor) -> Tensor:
    """Multiply (G, H) weights by contiguous (H, R, N) maps into ``out``, (G, R, N)."""
    torch.mm(weight, maps.view(len(maps), -1), out=out.view(len(out), -1))
    return out


def normalize_over_heads(maps: Tensor, norm: LayerNormOverHeads) -> Tensor:
    """Normalise centred (H, R, N) maps in place, and return the factors, (R, N)."""
    if norm.map_bias is not None:
        maps.add_(norm.map_bias[:, None, None])
    factors = maps.square().mean(0).add_(norm.eps).rsqrt_()
    maps.mul_(factors)
    return factors


def dropout_factors(settings: PassSettings, buffers: Buffers, image: int, block: int) -> Tensor:
    """Repeat the dropout factors of a block of an image, 0 or 1 / (1 − p), (H, R, N)."""
    assert settings.dropout is not None
    return settings.dropout.factors(buffers.lend("factors"), image, block)
