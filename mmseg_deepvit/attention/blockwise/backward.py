"""The backward pass of blockwise attention: one, whatever the norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .mixing import LayerNormOverHeads, Mixing
from .row_blocks import (
    Image,
    Workspace,
    dropout_factors,
    head_products,
    mix,
    normalize_over_heads,
)


@dataclass
class Gradients:
    """Gradients of a call; those of H and H×H parameters in float64, None where there is none.

    Attributes:
        q: (B, H, N, d).
        k: (B, H, N, d).
        v: (B, H, N, d).
        pre: (H, H).
        post: (H, H), of ``Mixing.post``.
        bias: (H,), of ``Mixing.bias``.
        norm_weight: (H,).
        norm_bias: (H,), of ``LayerNormOverHeads.map_bias``.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    pre: Tensor | None
    post: Tensor | None
    bias: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None


@dataclass(frozen=True)
class Coupling:
    """What batch statistics of the maps add to the gradient of the probabilities P.

    Attributes:
        products: (H, H): products @ P is added.
        constant: (H,), added as it is; None where the softmax would not see it.
    """

    products: Tensor
    constant: Tensor | None


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mixing: Mixing,
    rows: int,
    lse: Tensor,
    coupling: Coupling | None = None,
) -> Gradients:
    """Gradients of head-mixing attention in one pass over the blocks.

    Args:
        grad: Of the output, (B, N, H, d).
        q: (B, H, N, d).
        k: (B, H, N, d).
        v: (B, H, N, d).
        mixing: As in the forward pass.
        rows: As in the forward pass: dropout depends on it.
        lse: (B, H, N), as the forward pass left it.
        coupling: Of batch statistics, or None.

    Returns:
        The gradients.
    """
    heads, tokens = lse.shape[1:]
    sums = _empty_gradients(q, k, v, mixing, heads)
    work = Workspace(rows, tokens, lse)
    for b in range(len(q)):
        image = Image(q[b], k[b], mixing, work, lse[b])
        image.use_lse()
        step = _BackwardStep(image, mixing, coupling, sums, work, b)
        keys, values = k[b].to(lse.dtype).contiguous(), v[b].to(lse.dtype)
        values_t = values.transpose(1, 2).contiguous()
        grads = grad[b].transpose(0, 1).to(lse.dtype).contiguous()
        grad_k, grad_v = torch.zeros_like(keys), torch.zeros_like(keys)
        if mixing.output_bias is not None:
            assert sums.bias is not None
            sums.bias += (values.sum(1) * grads.sum(1)).sum(-1)
            grad_v += mixing.output_bias[:, None, None] * grads.sum(1, keepdim=True)
        for block in work.blocks():
            step.recompute(block)
            torch.bmm(grads[:, block], values_t, out=step.grad_maps)
            grad_v.baddbmm_(step.mixed().transpose(1, 2), grads[:, block])
            grad_logits = step.grad_logits()
            product = work.lend("output", heads, block, keys.shape[-1])
            torch.bmm(grad_logits, keys, out=product)
            torch.mul(product, mixing.scale, out=product)
            sums.q[b, :, block] = product
            grad_k.baddbmm_(grad_logits.transpose(1, 2), image.queries[:, block])
        sums.k[b], sums.v[b] = grad_k, grad_v
    return sums


def _empty_gradients(q: Tensor, k: Tensor, v: Tensor, mixing: Mixing, heads: int) -> Gradients:
    def zeros(there: object, *shape: int) -> Tensor | None:
        return None if there is None else q.new_zeros(shape, dtype=torch.float64)

    norm = mixing.norm
    return Gradients(
        torch.empty_like(q),
        torch.empty_like(k),
        torch.empty_like(v),
        zeros(mixing.pre, heads, heads),
        zeros(mixing.post, heads, heads),
        zeros(mixing.bias, heads),
        zeros(norm, heads),
        zeros(norm and norm.map_bias, heads),
    )


class _BackwardStep:
    """Backward through the maps of one block at a time, from A to the raw logits.

    P and the gradient of A share a buffer, so that one GEMM applies the mix's transpose to the one
    and the coupling to the other.
    """

    def __init__(
        self,
        image: Image,
        mixing: Mixing,
        coupling: Coupling | None,
        sums: Gradients,
        work: Workspace,
        index: int,
    ) -> None:
        self.image, self.mixing, self.sums, self.work = image, mixing, sums, work
        self.index, self.heads, self.constant = index, image.heads, None
        if mixing.post is not None:
            self.to_probabilities = mixing.post.t().contiguous()
        if coupling is not None:
            self.to_probabilities = torch.cat([self.to_probabilities, coupling.products], 1)
            self.constant = coupling.constant
        self.coupled = coupling is not None

    def recompute(self, block: slice) -> None:
        """Make P of the block, dropped out where it is."""
        self.block = block
        self.pair = self.work.lend("pair", 2 * self.heads, block)
        self.grad_maps, self.maps = self.pair[: self.heads], self.pair[self.heads :]
        self.image.probabilities(block, self.maps)
        self.softmax = self.maps
        if self.mixing.drops_probabilities:
            self.softmax = self._lend("softmax").copy_(self.maps)
            self.maps.mul_(self._factors())

    def mixed(self) -> Tensor:
        """A of the block less the output bias; masks the gradient of A where A is dropped out."""
        mixing, maps = self.mixing, self.maps
        if mixing.post is not None:
            maps = mix(mixing.post, maps, self._lend("mixed"))
        if mixing.norm is not None:
            maps = self._layer_norm(maps, mixing.norm)
        if mixing.drops_mixed:
            factors = self._factors()
            bias = 0.0 if mixing.map_bias is None else mixing.map_bias[:, None, None]
            maps = torch.add(maps, bias, out=self._lend("dropped")).mul_(factors)
            self.grad_maps.mul_(factors)
        return maps

    def grad_logits(self) -> Tensor:
        """Gradient of the raw logits of the block; adds to those of mixes on the way."""
        grads = self._grad_softmax()
        torch.ops.aten._softmax_backward_data.out(
            grads, self.softmax, -1, grads.dtype, grad_input=grads
        )
        if self.mixing.pre is None:
            return grads
        assert self.sums.pre is not None
        raw = self.work.lend("raw", self.heads, self.block)
        self.sums.pre += head_products(grads, raw).sum(0)
        return mix(self.mixing.pre.t(), grads, self._lend("mixed raw"))

    def _grad_softmax(self) -> Tensor:
        """Gradient of P from that of A, which it may overwrite."""
        mixing, grads, sums = self.mixing, self.grad_maps, self.sums
        if mixing.map_bias is not None:
            assert sums.bias is not None
            sums.bias += grads.sum((1, 2))
        if mixing.norm is not None:
            self._layer_norm_backward(mixing.norm)
        if mixing.post is not None:
            assert sums.post is not None
            sums.post += head_products(grads, self.maps).sum(0)
            source = self.pair if self.coupled else grads
            grads = mix(self.to_probabilities, source, self._lend("mixed"))
        if self.constant is not None:
            grads.add_(self.constant[:, None, None])
        if mixing.drops_probabilities:
            grads.mul_(self._factors())
        return grads

    def _layer_norm(self, maps: Tensor, norm: LayerNormOverHeads) -> Tensor:
        self.factors = normalize_over_heads(maps, norm)
        self.normal = maps
        return torch.mul(maps, norm.weight[:, None, None], out=self._lend("weighted"))

    def _layer_norm_backward(self, norm: LayerNormOverHeads) -> None:
        """Gradient of A to that of the centred mix, in place."""
        grads, normal, sums = self.grad_maps, self.normal, self.sums
        products = torch.mul(grads, normal, out=self._lend("weighted"))
        assert sums.norm_weight is not None
        sums.norm_weight += products.sum((1, 2))
        weight = norm.weight[:, None, None]
        along = products.mul_(weight).mean(0)
        grads.mul_(weight)
        grads.sub_(grads.mean(0)).sub_(normal.mul_(along)).mul_(self.factors)
        if sums.norm_bias is not None:
            sums.norm_bias += grads.sum((1, 2))

    def _lend(self, name: str) -> Tensor:
        return self.work.lend(name, self.heads, self.block)

    def _factors(self) -> Tensor:
        return dropout_factors(self.mixing, self.work, self.heads, self.index, self.block)
