"""BatchNorm of mixed attention maps in closed form, from H×H moments instead of maps.

Paper: BatchNorm, https://arxiv.org/abs/1502.03167; DeepViT, https://arxiv.org/abs/2103.11886,
applies it after the mix.
Deviations: none in the result. The mixed map is M = post P + bias. Each head has n = B·N·N entries.
Let m_g be the mean of P_g, and K_hg the covariance of P_h and P_g. Then

    mean_h = (post m)_h + bias_h        var_h = (post K postᵀ)_hh

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
        mean: Mean of each mixed map without the bias of the mix, (H,).
        var: Biased variance of each mixed map, (H,).
        half_grad: Half the derivative of the variance by the mix, post K, (H, H).
        post: Mix, (H, H).
        weight: Weight γ of the norm, (H,).
        bias: Bias β of the norm, (H,).
        rstd: 1 / σ, (H,).
        weight_folded: Folded mix W, (H, H).
    """

    count: Tensor
    first: Tensor
    mean: Tensor
    var: Tensor
    half_grad: Tensor
    post: Tensor
    weight: Tensor
    bias: Tensor
    rstd: Tensor
    weight_folded: Tensor

    @classmethod
    def of(
        cls, moments: Tensor, post: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> BatchStatistics:
        """Norm of a batch whose moments :func:`mixed_moments` gave."""
        count, first, mean, var = moments[:4].unbind()
        post, weight, bias = (t.detach().double() for t in (post, weight, bias))
        rstd = (var + eps).rsqrt_()
        folded = (weight * rstd)[:, None] * post
        return cls(count[0], first, mean, var, moments[4:], post, weight, bias, rstd, folded)

    @property
    def bias_folded(self) -> Tensor:
        """Folded bias b, (H,)."""
        return self.bias - self.weight_folded @ self.first

    def reach(
        self, grad_dot_out: Tensor, grad_bias: Tensor, constant: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Gradient of P through the statistics, before the backward pass over the maps.

        Let dW be the gradient of W, including its effect through b. Then Σ_g dW[h, g] W[h, g] is
        Σ dA_h A_h − β_h Σ dA_h, and Σ dA_h A_h is Σ dO_h O_h. The gradient of σ needs no more.

        Args:
            grad_dot_out: Sums Σ dO_h · O_h over images, tokens, widths and processes, (H,).
            grad_bias: Gradient of b, Σ dA_h, summed over all processes, (H,).
            constant: Whether the second result is wanted.

        Returns:
            F, (H, H), and f, (H,), or None: the gradient of P gains F P + f.
        """
        along = torch.addcmul(grad_dot_out, self.bias, grad_bias, value=-1)
        # Gradient of the variance, times 2 / n.
        pull = along * self.rstd.square() / -self.count
        transposed = self.post.t()
        products = transposed @ (pull[:, None] * self.post)
        if not constant:
            return products, None
        through_bias = self.weight_folded.t() @ (grad_bias / self.count)
        return products, -(through_bias + transposed @ (pull * self.mean))

    def parameter_gradients(self, grad_weight: Tensor) -> tuple[Tensor, Tensor]:
        """Compute a process's share of the gradients of post and γ; β has the gradient of b.

        Args:
            grad_weight: Gradient of W, including its effect through b, (H, H).

        Returns:
            The gradients of post, (H, H), and γ, (H,).
        """
        grad_gamma = self.rstd * (grad_weight * self.post).sum(1)
        pull = (self.rstd * grad_gamma)[:, None]
        through_var = torch.addcmul(grad_weight, pull, self.half_grad, value=-1)
        return (self.weight * self.rstd)[:, None] * through_var, grad_gamma


def pack_sums(count: int, first: Tensor, second: Tensor) -> Tensor:
    """Join the count of entries and the sums of moments to a (1 + H + H²,) vector to all-reduce."""
    return torch.cat([first.new_full((1,), count), first, second.flatten()])


def mixed_moments(sums: Tensor, post: Tensor) -> Tensor:
    """Moments of mixed maps, in float64; those of an empty batch are zero.

    Args:
        sums: Sums of the maps before the mix, from :func:`pack_sums`.
        post: Mix, (H, H).

    Returns:
        (4 + H, H), row by row: the count n, repeated; the means m; mean and biased variance of the
        mixed maps, without the bias of the mix; post K.
    """
    heads = len(post)
    count = sums[:1]
    first, second = (sums[1:] / count.clamp(min=1)).split([heads, heads**2])
    post = post.detach().double()
    half_grad = post @ second.view(heads, heads).addr(first, first, alpha=-1)
    var = (half_grad * post).sum(1).clamp_(min=0)
    rows = [count.expand(heads), first, post @ first, var, half_grad.flatten()]
    return torch.cat(rows).view(-1, heads)
