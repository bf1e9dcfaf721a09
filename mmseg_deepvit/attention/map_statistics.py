"""BatchNorm of mixed attention maps in closed form, from H×H moments instead of maps.

Paper: BatchNorm, https://arxiv.org/abs/1502.03167; DeepViT, https://arxiv.org/abs/2103.11886,
applies it after the mix.
Deviations: none in the result. The mixed map is M = post P + bias. Each head has n = B·N·N entries.
Let m_g be the mean of P_g, and C_hg the mean of P_h P_g. Then

    mean_h = (post m)_h + bias_h        var_h = (post C postᵀ)_hh − (post m)_h²

Norm and mix fold into one mix, A = W P + b, in which the bias cancels:

    W = diag(γ / σ) post                b = β − W m

Rows of P sum to one. Without dropout of P therefore m = 1/N and A = W (P − 1/N) + β. The output is
W P times the centred values, plus β times the sum of the values: no large numbers cancel.

The gradient of P needs only H numbers for the variance. They follow from the output O = A V before
the backward pass builds a map, because Σ dA_h · A_h over a map equals Σ dO_h · O_h. See
:meth:`BatchStatistics.reach`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchStatistics:
    """Moments of a batch of maps and the BatchNorm that follows from them, in float64.

    Attributes:
        count: Number n of entries of a head, (); SyncBatchNorm counts all processes.
        first: Means m, (H,).
        second: Means C of products, (H, H).
        post: Mix, (H, H).
        weight: Weight γ of the norm, (H,).
        bias: Bias β of the norm, (H,).
        mean: Mean of each mixed map without the bias of the mix, (H,).
        var: Biased variance of each mixed map, (H,).
        rstd: 1 / σ, (H,).
    """

    count: Tensor
    first: Tensor
    second: Tensor
    post: Tensor
    weight: Tensor
    bias: Tensor
    mean: Tensor
    var: Tensor
    rstd: Tensor

    @classmethod
    def from_sums(
        cls, sums: Tensor, post: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> BatchStatistics:
        """Divide the sums of :func:`pack_sums`; an empty batch has moments of zero."""
        heads = len(post)
        count = sums[0].clamp(min=1)
        means = sums[1:] / count
        post, weight, bias = (t.detach().double() for t in (post, weight, bias))
        first, second = means[:heads], means[heads:].view(heads, heads)
        mean = post @ first
        var = (((post @ second) * post).sum(1) - mean.square()).clamp_(min=0)
        return cls(count, first, second, post, weight, bias, mean, var, (var + eps).rsqrt())

    @property
    def weight_folded(self) -> Tensor:
        """Folded mix W, (H, H)."""
        return (self.weight * self.rstd)[:, None] * self.post

    @property
    def bias_folded(self) -> Tensor:
        """Folded bias b, (H,)."""
        return self.bias - self.weight_folded @ self.first

    def grad_var(self, grad_dot_out: Tensor, grad_bias: Tensor) -> Tensor:
        """Compute the gradient of the variance, before the backward pass over the maps.

        Let dW be the gradient of W, including its effect through b. Then Σ_g dW[h, g] W[h, g] is
        Σ dA_h A_h − β_h Σ dA_h, and Σ dA_h A_h is Σ dO_h O_h. The gradient of σ needs no more.

        Args:
            grad_dot_out: Sums Σ dO_h · O_h over images, tokens, widths and processes, (H,).
            grad_bias: Gradient of b, Σ dA_h, summed over all processes, (H,).

        Returns:
            (H,).
        """
        return -0.5 * (grad_dot_out - self.bias * grad_bias) * self.rstd.square()

    def grad_second(self, grad_var: Tensor) -> Tensor:
        """Compute the gradient of C, (H, H), from that of the variance, (H,)."""
        return self.post.t() @ (grad_var[:, None] * self.post)

    def grad_first(self, grad_var: Tensor, grad_bias: Tensor) -> Tensor:
        """Compute the gradient of m, (H,), from those of the variance and of b, (H,)."""
        through_var = 2 * grad_var * self.mean
        return -(self.weight_folded.t() @ grad_bias) - self.post.t() @ through_var

    def parameter_gradients(self, grad_weight: Tensor) -> tuple[Tensor, Tensor]:
        """Compute a process's share of the gradients of post and γ; β has the gradient of b.

        Args:
            grad_weight: Gradient of W, including its effect through b, (H, H).

        Returns:
            The gradients of post, (H, H), and γ, (H,).
        """
        rstd = self.rstd
        along = (grad_weight * self.post).sum(1)
        grad_var = -0.5 * rstd**3 * self.weight * along
        through_var = 2 * (self.post @ self.second - self.mean[:, None] * self.first)
        grad_post = (self.weight * rstd)[:, None] * grad_weight + grad_var[:, None] * through_var
        return grad_post, rstd * along


def pack_sums(count: int, first: Tensor, second: Tensor) -> Tensor:
    """Join the count of entries and the sums of moments to a (1 + H + H²,) vector to all-reduce."""
    return torch.cat([first.new_full((1,), count), first, second.flatten()])
