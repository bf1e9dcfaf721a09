"""Attention maps of one block of query rows at a time.

No (N, N) map is ever whole: a block of query rows has its logits, probabilities and mixed maps in
buffers that are made once, and what must be known of a map (row sums, moments, gradients of the
mixes) is summed up on the way. What the passes rely on:

* Rows of P are exp(S' − lse) with lse the log-sum-exp of the row. Once lse is known it is one more
  column of the queries against a row of ones in the keys, so that one GEMM and one exp make P.
* pre_bias shifts whole rows of logits, which the softmax does not see. It never enters.
* A bias of the mixed maps is b_h on every entry: it adds b_h Σ_j V_h[j] to the output, no map.
* Row-wise batches of (H, N) × (N, H) products, summed in float64, make the H×H sums fast and exact.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .mixing import LayerNormOverHeads, Mixing

#: Logits within ±this need no row maximum: e^2x times any N is far from fp32's limits.
SAFE_LOGIT = 30.0


class Workspace:
    """Buffers for the maps of one block of query rows, lent under a name again and again.

    Args:
        rows: Query rows of a block, at least 1.
        tokens: N.
        like: Gives dtype and device.
    """

    def __init__(self, rows: int, tokens: int, like: Tensor) -> None:
        self.rows, self.tokens, self._like = rows, tokens, like
        self._flat: dict[str, Tensor] = {}

    def blocks(self) -> Iterator[slice]:
        """The blocks of query rows; the last may be smaller."""
        for start in range(0, self.tokens, self.rows):
            yield slice(start, min(start + self.rows, self.tokens))

    def lend(self, name: str, heads: int, rows: slice, width: int | None = None) -> Tensor:
        """A contiguous (heads, rows, width or N) tensor, its content left from before."""
        width = self.tokens if width is None else width
        if name not in self._flat:
            self._flat[name] = self._like.new_empty(heads * self.rows * width)
        count = rows.stop - rows.start
        return self._flat[name][: heads * count * width].view(heads, count, width)


class Image:
    """Queries and keys of one image, laid out so that one GEMM makes a block of logits.

    Args:
        q: (H, N, d).
        k: (H, N, d).
        mixing: What happens to the maps.
        work: Buffers; their dtype is the dtype of the maps.
        lse: (H, N) log-sum-exp of the rows of mixed logits, filled in by :meth:`exponentials` or
            used by :meth:`probabilities`.
    """

    def __init__(self, q: Tensor, k: Tensor, mixing: Mixing, work: Workspace, lse: Tensor) -> None:
        heads, tokens, width = q.shape
        self.heads, self.work, self.pre, self.lse = heads, work, mixing.pre, lse
        self._queries = lse.new_empty(heads, tokens, width + 1)
        torch.mul(q, mixing.scale, out=self.queries)
        self._keys = lse.new_empty(heads, width + 1, tokens)
        self._keys[:, :width] = k.transpose(1, 2)
        self._keys[:, width] = 1
        self._key_lengths = k.norm(dim=-1).to(lse.dtype)

    @property
    def queries(self) -> Tensor:
        """(H, N, d) queries times the factor of the logits."""
        return self._queries[..., :-1]

    def offset_by(self, values: Tensor | float) -> None:
        """Set what is added to each row of logits: (H, N) or a number."""
        self._queries[..., -1] = values

    def needs_maxima(self) -> bool:
        """Whether exp of the logits might leave the range of floats without a row maximum."""
        if self.lse.device.type != "cpu":
            return True  # asking would make the host wait for the device
        reach = self.queries.norm(dim=-1).amax(-1) * self._key_lengths.amax(-1)
        if self.pre is not None:
            reach = self.pre.abs() @ reach
        return not bool(reach.max() <= SAFE_LOGIT)

    def raw_logits(self, rows: slice, name: str) -> Tensor:
        """(H, rows, N) logits before any mix, plus the offset."""
        out = self.work.lend(name, self.heads, rows)
        return torch.bmm(self._queries[:, rows], self._keys, out=out)

    def logits(self, rows: slice, name: str) -> Tensor:
        """(H, rows, N) logits, mixed where there is a mix; raw ones stay under 'raw'."""
        if self.pre is None:
            return self.raw_logits(rows, name)
        return mix(self.pre, self.raw_logits(rows, "raw"), self.work.lend(name, self.heads, rows))

    def exponentials(self, rows: slice, name: str, maxima: bool) -> tuple[Tensor, Tensor]:
        """Softmax that is not divided by its sums yet; fills in ``lse``.

        Returns:
            (H, rows, N) exponentials, and their (H, rows) sums.
        """
        out = self.logits(rows, name)
        if not maxima:
            sums = out.exp_().sum(-1)
            torch.log(sums, out=self.lse[:, rows])
            return out, sums
        highest = out.amax(-1)
        sums = out.sub_(highest[..., None]).exp_().sum(-1)
        self.lse[:, rows] = sums.log().add_(highest)
        return out, sums

    def probabilities(self, rows: slice, out: Tensor) -> Tensor:
        """Softmax from the known ``lse``, (H, rows, N), into ``out``; see :meth:`use_lse`."""
        if self.pre is None:
            return torch.bmm(self._queries[:, rows], self._keys, out=out).exp_()
        mix(self.pre, self.raw_logits(rows, "raw"), out)
        return out.sub_(self.lse[:, rows, None]).exp_()

    def use_lse(self) -> None:
        """Have logits come out with ``lse`` subtracted (with a pre mix, it is done after that)."""
        self.offset_by(-self.lse if self.pre is None else 0.0)


def mix(weight: Tensor, maps: Tensor, out: Tensor) -> Tensor:
    """(G, H) weights times (H, rows, N) maps into the (G, rows, N) of ``out``."""
    torch.mm(weight, maps.view(len(maps), -1), out=out.view(len(out), -1))
    return out


def head_products(a: Tensor, b: Tensor) -> Tensor:
    """Σ over rows and columns of a_h b_g: two (H, rows, N) to (rows, H, H), one for each row."""
    return torch.bmm(a.transpose(0, 1), b.permute(1, 2, 0))


def dropout_factors(mixing: Mixing, work: Workspace, heads: int, b: int, block: slice) -> Tensor:
    """Factors 0 and 1 / (1 − p) of a block of image ``b``, (heads, rows, N); the same each time."""
    assert mixing.dropout is not None
    return mixing.dropout.factors(work.lend("factors", heads, block), b, block.start)


def normalize_over_heads(maps: Tensor, norm: LayerNormOverHeads) -> Tensor:
    """Normalise centred (H, rows, N) maps in place; returns the (rows, N) factors it took."""
    if norm.map_bias is not None:
        maps.add_(norm.map_bias[:, None, None])
    factors = maps.square().mean(0).add_(norm.eps).rsqrt_()
    maps.mul_(factors)
    return factors
