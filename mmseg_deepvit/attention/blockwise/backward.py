"""Backward pass of blockwise attention: a single one, with every norm."""

from __future__ import annotations

import torch
from torch import Tensor

from ..streaming.gradients import Coupling, Gradients, empty_gradients
from ..streaming.pass_settings import LayerNormOverHeads, PassSettings
from ..streaming.row_split import RowSplit
from .buffers import Buffers
from .row_blocks import ImageBlocks, dropout_factors, mix, normalize_over_heads


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    settings: PassSettings,
    rows: RowSplit,
    lse: Tensor,
    coupling: Coupling | None = None,
) -> Gradients:
    """Compute the gradients of head-mixing attention in one pass over the blocks.

    Args:
        grad: Gradient of the output, (B, N, H, d).
        q: Queries, (B, H, N, d).
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: Settings of the forward pass.
        rows: Division of the rows in the forward pass; dropout depends on it.
        lse: Log-sum-exp of the rows from the forward pass, (B, n, H, R).
        coupling: Coupling of batch statistics, or None.

    Returns:
        The gradients.
    """
    sums = empty_gradients(q, k, v, settings)
    buffers = Buffers(q.shape[1], rows, lse)
    for b in range(len(q)):
        image = ImageBlocks(q[b], k[b], settings, rows, buffers, lse[b])
        step = _BackwardStep(image, settings, coupling, buffers, b)
        _add_image(grad[b].transpose(0, 1), k[b], v[b], image, step, rows, sums)
    return sums


def _add_image(
    grad: Tensor,
    k: Tensor,
    v: Tensor,
    image: ImageBlocks,
    step: _BackwardStep,
    rows: RowSplit,
    sums: Gradients,
) -> None:
    """Add the gradients of one image, whose ``grad``, ``k`` and ``v`` are (H, N, d)."""
    lend, settings, b = image.buffers.lend, step.settings, step.index
    keys = lend("keys by row", *k.shape).copy_(k)
    values_t = lend("values", *v.transpose(1, 2).shape).copy_(v.transpose(1, 2))
    total_values = values_t.sum(2, dtype=torch.float64)
    if settings.centred:
        values_t.sub_((total_values / rows.tokens)[..., None])
    blocks = (rows.blocks, image.heads, rows.size, k.shape[-1])
    grads, grad_q = lend("grad", *blocks), lend("grad q", *blocks)
    rows.split(grad, grads)
    grad_k, grad_v = lend("grad k", *k.shape).zero_(), lend("grad v", *v.shape).zero_()
    image.use_lse()
    for i in range(rows.blocks):
        step.recompute(i)
        torch.bmm(grads[i], values_t, out=step.grad_maps)
        grad_v.baddbmm_(step.mixed().transpose(1, 2), grads[i])
        grad_logits = step.grad_logits()
        torch.bmm(grad_logits, keys, out=grad_q[i])
        grad_k.baddbmm_(grad_logits.transpose(1, 2), image.queries[i])
    step.add_to(sums)
    if settings.centred:
        grad_v.sub_(grad_v.mean(1, keepdim=True))
    if settings.output_bias is not None:
        assert sums.bias is not None
        total = grads.sum((0, 2), dtype=torch.float64)
        sums.bias += (total_values * total).sum(-1)
        grad_v += (settings.output_bias[:, None] * total)[:, None]
    rows.join(grad_q.mul_(settings.scale), sums.q[b])
    sums.k[b], sums.v[b] = grad_k, grad_v


class _BackwardStep:
    """Backward step through the maps of one block, from A to the raw logits.

    P and the gradient of A are halves of one buffer. So one GEMM applies the coupling to P and the
    transposed mix to the gradient. Gradients of the mixes are batched products, one sum for each
    row of a block; :meth:`add_to` sums them over the rows.
    """

    def __init__(
        self,
        image: ImageBlocks,
        settings: PassSettings,
        coupling: Coupling | None,
        buffers: Buffers,
        index: int,
    ) -> None:
        self.image, self.settings, self.buffers, self.index = image, settings, buffers, index
        self.pair, self.grad_maps, self.maps = buffers.lend_pair()
        self.coupling = coupling
        if settings.post is not None:
            self.to_probabilities = settings.post.t().contiguous()
        if coupling is not None:
            self.to_probabilities = torch.cat([self.to_probabilities, coupling.products], 1)
        heads, size, _ = self.maps.shape
        self.grad_pre, self.grad_post = self.maps.new_zeros(2, size, heads, heads)
        self.grad_bias, self.grad_norm_weight, self.grad_norm_bias = self.maps.new_zeros(3, heads)

    def add_to(self, sums: Gradients) -> None:
        """Add the gradients of the parameters."""
        for total, by_row in ((sums.pre, self.grad_pre), (sums.post, self.grad_post)):
            if total is not None:
                total += by_row.sum(0, dtype=torch.float64)
        for total, share in (
            (sums.bias, self.grad_bias),
            (sums.norm_weight, self.grad_norm_weight),
            (sums.norm_bias, self.grad_norm_bias),
        ):
            if total is not None:
                total += share

    def recompute(self, i: int) -> None:
        """Compute P of block ``i``, after dropout if it acts on P."""
        self.block = i
        self.image.probabilities(i, self.maps)
        self.softmax = self.maps
        if self.settings.drops_probabilities:
            self.softmax = self.buffers.lend("softmax").copy_(self.maps)
            self.maps.mul_(self._factors())

    def mixed(self) -> Tensor:
        """Compute A without the output bias; apply dropout of A to the gradient of A too."""
        settings, maps = self.settings, self.maps
        if settings.post is not None:
            maps = mix(settings.post, maps, self.buffers.lend("mixed"))
        if settings.norm is not None:
            maps = self._layer_norm(maps, settings.norm)
        if settings.drops_mixed:
            factors = self._factors()
            bias = 0.0 if settings.map_bias is None else settings.map_bias[:, None, None]
            maps = torch.add(maps, bias, out=self.buffers.lend("dropped")).mul_(factors)
            self.grad_maps.mul_(factors)
        return maps

    def grad_logits(self) -> Tensor:
        """Compute the gradient of the raw logits, and add to the gradients of the mixes."""
        grads = self._grad_softmax()
        torch.ops.aten._softmax_backward_data.out(
            grads, self.softmax, -1, grads.dtype, grad_input=grads
        )
        if self.settings.pre is None:
            return grads
        raw = self.buffers.lend("raw")
        self.grad_pre.baddbmm_(grads.transpose(0, 1), raw.permute(1, 2, 0))
        return mix(self.settings.pre.t(), grads, self.buffers.lend("grad raw"))

    def _grad_softmax(self) -> Tensor:
        """Compute the gradient of P from that of A, which it may overwrite."""
        settings, grads = self.settings, self.grad_maps
        if settings.map_bias is not None:
            self.grad_bias += grads.sum((1, 2))
        if settings.norm is not None:
            self._layer_norm_backward(settings.norm)
        if settings.post is not None:
            self.grad_post.baddbmm_(grads.transpose(0, 1), self.maps.permute(1, 2, 0))
            source = grads if self.coupling is None else self.pair
            grads = mix(self.to_probabilities, source, self.buffers.lend("mixed"))
        if self.coupling is not None and self.coupling.constant is not None:
            grads.add_(self.coupling.constant[:, None, None])
        if settings.drops_probabilities:
            grads.mul_(self._factors())
        return grads

    def _layer_norm(self, maps: Tensor, norm: LayerNormOverHeads) -> Tensor:
        self.factors = normalize_over_heads(maps, norm)
        self.normal = maps
        weight = norm.weight[:, None, None]
        return torch.mul(maps, weight, out=self.buffers.lend("weighted"))

    def _layer_norm_backward(self, norm: LayerNormOverHeads) -> None:
        """Turn the gradient of A into that of the centred mix, in place."""
        grads, normal, weight = self.grad_maps, self.normal, norm.weight[:, None, None]
        products = torch.mul(grads, normal, out=self.buffers.lend("weighted"))
        self.grad_norm_weight += products.sum((1, 2))
        along = products.mul_(weight).mean(0)
        grads.mul_(weight)
        grads.sub_(grads.mean(0)).sub_(normal.mul_(along)).mul_(self.factors)
        if norm.map_bias is not None:
            self.grad_norm_bias += grads.sum((1, 2))

    def _factors(self) -> Tensor:
        return dropout_factors(self.settings, self.buffers, self.index, self.block)
