"""Attention maps of one block of query rows at a time.

No (N, N) map is ever whole: a block of query rows has its logits, probabilities and mixed maps in
buffers that are made once, and what must be known of a map (row sums, moments, gradients of the
mixes) is summed up on the way. What the passes rely on:

* Rows of P are exp(S' − lse) with lse the log-sum-exp of the row. Once lse is known it is one more
  column of the queries against a row of ones in the keys, so that one GEMM and one exp make P.
* pre_bias shifts whole rows of logits, which the softmax does not see. It never enters.
* A bias of the mixed maps is b_h on every entry: it adds b_h Σ_j V_h[j] to the output, no map.
* All blocks have the same shape, views of buffers are made once, and a block costs few calls. The
  last one is filled up with queries of zeros, which get uniform rows and add nothing to gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..streaming.pass_settings import LayerNormOverHeads, PassSettings
from ..streaming.row_split import RowSplit
from .buffers import Buffers

#: Logits within ±this need no row maximum: e^2x times any N is far from fp32's limits.
SAFE_LOGIT = 30.0


class ImageBlocks:
    """Queries and keys of one image, laid out so that one GEMM makes a block of logits.

    Args:
        q: (H, N, d).
        k: (H, N, d).
        settings: What happens to the maps.
        rows: How rows are cut.
        buffers: Their dtype is the dtype of the maps.
        lse: (n, H, R) log-sum-exp of the rows of mixed logits, to be filled in by
            :meth:`keep_lse` or used by :meth:`probabilities`.
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
        #: (n, H, R, d) queries times the factor of the logits.
        self.queries = self._augmented[..., :width]
        rows.split(q, self.queries)
        self.queries.mul_(settings.scale)
        self._keys = buffers.lend("keys", heads, width + 1, tokens)
        self._keys[:, :width] = k.transpose(1, 2)
        self._keys[:, width] = 1
        self._key_lengths = k.norm(dim=-1).to(lse.dtype)
        self._augmented[..., width] = 0

    def use_lse(self) -> None:
        """Have logits come out with ``lse`` subtracted (with a pre mix, it is done after that)."""
        if self.pre is None:
            self._augmented[..., -1] = -self.lse

    def probabilities(self, i: int, out: Tensor) -> Tensor:
        """Softmax of block ``i`` from the known ``lse``, (H, R, N), into ``out``."""
        if self.pre is None:
            return torch.bmm(self._augmented[i], self._keys, out=out).exp_()
        return self._logits(i, out).sub_(self.lse[i, :, :, None]).exp_()

    def start_exponentials(self) -> None:
        """Prepare for :meth:`exponentials`."""
        self.sums = torch.empty_like(self.lse)
        self._highest = torch.empty_like(self.lse) if self._needs_maxima() else None

    def exponentials(self, i: int, out: Tensor) -> Tensor:
        """Softmax of block ``i`` before the division by ``sums[i]``, (H, R, N), into ``out``."""
        self._logits(i, out)
        if self._highest is not None:
            torch.amax(out, -1, out=self._highest[i])
            out.sub_(self._highest[i, :, :, None])
        torch.sum(out.exp_(), -1, out=self.sums[i])
        return out

    def keep_lse(self) -> None:
        """Fill in ``lse`` when all blocks have had their exponentials."""
        torch.log(self.sums, out=self.lse)
        if self._highest is not None:
            self.lse.add_(self._highest)

    def _logits(self, i: int, out: Tensor) -> Tensor:
        """Logits of block ``i``, mixed where there is a mix; raw ones stay under 'raw'."""
        if self.pre is None:
            return torch.bmm(self._augmented[i], self._keys, out=out)
        raw = torch.bmm(self._augmented[i], self._keys, out=self.buffers.lend("raw"))
        return mix(self.pre, raw, out)

    def _needs_maxima(self) -> bool:
        """Whether exp of the logits might leave the range of floats without a row maximum."""
        if self.lse.device.type != "cpu":
            return True  # asking would make the host wait for the device
        reach = self.queries.norm(dim=-1).amax((0, 2)) * self._key_lengths.amax(-1)
        if self.pre is not None:
            reach = self.pre.abs() @ reach
        return not bool(reach.max() <= SAFE_LOGIT)


def mix(weight: Tensor, maps: Tensor, out: Tensor) -> Tensor:
    """(G, H) weights times contiguous (H, R, N) maps into the (G, R, N) of ``out``."""
    torch.mm(weight, maps.view(len(maps), -1), out=out.view(len(out), -1))
    return out


def normalize_over_heads(maps: Tensor, norm: LayerNormOverHeads) -> Tensor:
    """Normalise centred (H, R, N) maps in place; returns the (R, N) factors it took."""
    if norm.map_bias is not None:
        maps.add_(norm.map_bias[:, None, None])
    factors = maps.square().mean(0).add_(norm.eps).rsqrt_()
    maps.mul_(factors)
    return factors


def dropout_factors(settings: PassSettings, buffers: Buffers, image: int, block: int) -> Tensor:
    """Factors 0 and 1 / (1 − p) of a block of an image, (H, R, N); the same each time."""
    assert settings.dropout is not None
    return settings.dropout.factors(buffers.lend("factors"), image, block)
