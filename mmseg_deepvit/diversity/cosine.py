"""Mean absolute cosine similarity in blocks of rows, with the gradient in the same pass.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753, eq. 3.
Deviations: none in result.

With unit vectors u_i, L = Σ_{i≠j} |u_i·u_j| has dL/du_i = 2 Σ_{j≠i} sign(u_i·u_j) u_j. A block of
rows of similarities gives its part of L and its rows of the gradient; then it is not needed again.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Smallest divisor of a vector, for vectors shorter than it.
LEAST_LENGTH = 1e-6
#: Bytes of a block of similarities, and number of rows below which products are slow.
CPU_BLOCK_BYTES = 8 * 2**20
ACCELERATOR_BLOCK_BYTES = 256 * 2**20
LEAST_ROWS = 32


def mean_abs_cosine(tokens: Tensor, block_rows: int | None = None) -> Tensor:
    """Average |cos(t_i, t_j)| over i ≠ j and over images.

    Args:
        tokens: Tokens, (B, N, C), fp32 or float64.
        block_rows: Number of rows of similarities at a time; None chooses.

    Returns:
        Scalar in [0, 1] in the dtype of ``tokens``; 0 for N = 1.
    """
    wants_gradient = tokens.requires_grad and torch.is_grad_enabled()
    unit = F.normalize(tokens, dim=-1, eps=LEAST_LENGTH)
    row_bytes = tokens.shape[0] * tokens.shape[1] * tokens.element_size()
    rows = block_rows or block_rows_for(row_bytes, tokens.device)
    mean: Tensor = _MeanAbsProduct.apply(unit, rows, wants_gradient)
    return mean


def block_rows_for(row_bytes: int, device: torch.device) -> int:
    """Choose the number of rows of a block on a device from the bytes of a row."""
    budget = CPU_BLOCK_BYTES if device.type == "cpu" else ACCELERATOR_BLOCK_BYTES
    return max(budget // row_bytes, LEAST_ROWS)


class _MeanAbsProduct(torch.autograd.Function):
    """Average of |u_i·u_j| over images and i ≠ j, for vectors (B, N, C)."""

    @staticmethod
    def forward(ctx: Any, unit: Tensor, block_rows: int, wants_gradient: bool) -> Tensor:
        batch, num_tokens, _ = unit.shape
        gradient = torch.empty_like(unit) if wants_gradient else None
        row_sums = unit.new_empty(batch, num_tokens)
        for start in range(0, num_tokens, block_rows):
            rows = slice(start, start + block_rows)
            products = unit[:, rows] @ unit.transpose(1, 2)
            products.diagonal(start, dim1=1, dim2=2).zero_()
            torch.linalg.vector_norm(products, 1, dim=-1, out=row_sums[:, rows])
            if gradient is not None:
                gradient[:, rows] = products.sign_() @ unit
        pairs = batch * max(num_tokens * (num_tokens - 1), 1)
        if gradient is not None:
            ctx.save_for_backward(gradient.mul_(2 / pairs))
        return row_sums.sum() / pairs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return grad * gradient, None, None
