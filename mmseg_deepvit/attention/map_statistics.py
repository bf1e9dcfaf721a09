"""BatchNorm of mixed attention maps in closed form: from H×H moments, never from the maps.

Paper: BatchNorm, https://arxiv.org/abs/1502.03167; its place after the mix: DeepViT,
https://arxiv.org/abs/2103.11886.
Deviations: none in result. The mixed map is M = post P + bias, so over the n = B·N·N entries of
each head, with m_g the mean of P_g and C the mean of P_h P_g,

    mean_h = (post m)_h + bias_h        var_h = (post C postᵀ)_hh − (post m)_h²

and norm and mix fold into one mix, A = W P + b, in which the bias cancels:

    W = diag(γ / σ) post                b = β − W m

Rows of P sum to one, so m = 1/N unless P is dropped out, and then A = W (P − 1/N) + β: its product
with the values is W P times values less their mean, plus β times the values' sum, in which nothing
large cancels. The variance enters the gradient of P by H numbers alone, and these follow from the
output O = A V before any map is made again, because Σ dA_h · A_h over the entries of a map equals
Σ dO_h · O_h: see :meth:`BatchStatistics.reach`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchStatistics:
    """Moments of a batch of maps, and what BatchNorm makes of them; all float64.

    Attributes:
        count: (), n, entries of a map over the batch (all processes' batches for SyncBatchNorm).
        first: (H,), m.
        second: (H, H), C.
        post: (H, H) mix.
        weight: (H,), γ.
        bias: (H,), β.
        eps: Added to the variance.
    """

    count: Tensor
    first: Tensor
    second: Tensor
    post: Tensor
    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def from_sums(
        cls, sums: Tensor, post: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> BatchStatistics:
        """From the packed sums of :func:`pack_sums`; an empty batch has moments of zero."""
        heads = len(post)
        count = sums[0].clamp(min=1)
        means = sums[1:] / count
        post, weight, bias = (t.detach().double() for t in (post, weight, bias))
        second = means[heads:].view(heads, heads)
        return cls(count, means[:heads], second, post, weight, bias, eps)

    @property
    def mean(self) -> Tensor:
        """(H,) mean of each mixed map, without the bias of the mix."""
        return self.post @ self.first

    @property
    def var(self) -> Tensor:
        """(H,) biased variance of each mixed map."""
        raw = ((self.post @ self.second) * self.post).sum(1)
        return (raw - self.mean.square()).clamp_(min=0)

    @property
    def weight_folded(self) -> Tensor:
        """W, (H, H)."""
        return (self.weight * (self.var + self.eps).rsqrt())[:, None] * self.post

    @property
    def bias_folded(self) -> Tensor:
        """b, (H,)."""
        return self.bias - self.weight_folded @ self.first

    def reach(self, grad_dot_out: Tensor, grad_bias: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the moments, known before the backward pass over the maps.

        With dW the gradient of W where b is a function of it, Σ_g dW[h, g] W[h, g] is
        Σ dA_h A_h − β_h Σ dA_h, and Σ dA_h A_h is Σ dO_h O_h. The gradient of σ needs no more.

        Args:
            grad_dot_out: (H,), Σ dO_h · O_h over images, tokens and widths, all processes'.
            grad_bias: (H,), gradient of b, which is Σ dA_h; all processes'.

        Returns:
            dm, (H,), and dC, (H, H).
        """
        along = grad_dot_out - self.bias * grad_bias
        grad_var = -0.5 * along / (self.var + self.eps)
        grad_first = -(self.weight_folded.t() @ grad_bias) - self.post.t() @ (
            2 * grad_var * self.mean
        )
        return grad_first, self.post.t() @ (grad_var[:, None] * self.post)

    def parameter_gradients(self, grad_weight: Tensor) -> tuple[Tensor, Tensor]:
        """From the gradient of W to those of post and γ; each process' own share.

        Args:
            grad_weight: (H, H), gradient of W where b is the function of it that it is.

        Returns:
            Gradients of post, (H, H), and γ, (H,). That of β is the gradient of b.
        """
        rstd = (self.var + self.eps).rsqrt()
        along = (grad_weight * self.post).sum(1)
        grad_var = -0.5 * rstd**3 * self.weight * along
        through_var = 2 * (self.post @ self.second - self.mean[:, None] * self.first)
        grad_post = (self.weight * rstd)[:, None] * grad_weight + grad_var[:, None] * through_var
        return grad_post, rstd * along


def pack_sums(count: int, first: Tensor, second: Tensor) -> Tensor:
    """Count of entries and sums of moments as one (1 + H + H²,) vector, to be all-reduced."""
    return torch.cat([first.new_full((1,), count), first, second.flatten()])
