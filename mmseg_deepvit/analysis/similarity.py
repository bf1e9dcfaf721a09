"""Measures of collapse: how alike attention maps, heads, patches and layers are.

Paper: DeepViT, https://arxiv.org/abs/2103.11886, eq. 3 and figures 3 and 6 (maps of layers and of
heads); Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753, eq. 1
(patches); Roy and Vetterli, The effective rank, EUSIPCO 2007; Anti-Oversmoothing in Deep Vision
Transformers, https://arxiv.org/abs/2203.05962 (high frequencies); Kornblith et al., Similarity of
Neural Network Representations Revisited, https://arxiv.org/abs/1905.00414 (CKA).
Deviations: by its text DeepViT's eq. 3 compares columns of the maps (one key, all queries); rows
(one query, all keys) are compared here too.

Functions take blocks of rows of maps, or tokens, of one or more images. A vector of zeros has
cosine zero with anything.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..diversity.cosine import mean_abs_cosine

#: Lengths below this count as zero; maps of N tokens have entries of 1/N.
LEAST_LENGTH = 1e-12


def row_cosines(x: Tensor, y: Tensor) -> Tensor:
    """Cosine similarity (B, H, R) in [-1, 1] of each query's rows (B, H, R, N) in two maps."""
    cosines: Tensor = F.cosine_similarity(x, y, dim=-1, eps=LEAST_LENGTH)
    return cosines


class ColumnCosines:
    """Cosine similarity of each key's columns in two maps, from blocks of rows; DeepViT eq. 3."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add (B, H, R, N) rows of both maps."""
        sums = torch.stack([(x * y).sum(2), x.square().sum(2), y.square().sum(2)])
        self._sums = sums if self._sums is None else self._sums + sums

    def cosines(self) -> Tensor:
        """(B, H, N) in [-1, 1], when all rows have been added."""
        assert self._sums is not None
        product, x, y = self._sums
        cosines: Tensor = product / (x * y).sqrt().clamp_min(LEAST_LENGTH**2)
        return cosines


def head_cosines(rows: Tensor) -> Tensor:
    """Cosine similarity of any two heads' rows in one map, summed over images and queries.

    Args:
        rows: (B, H, R, N).

    Returns:
        (H, H), each entry in [-B·R, B·R].
    """
    unit = F.normalize(rows, dim=-1, eps=LEAST_LENGTH).transpose(1, 2)
    return (unit @ unit.transpose(-2, -1)).sum((0, 1))


def mean_of_pairs(matrix: Tensor) -> float:
    """Mean of a (K, K) matrix off its diagonal; nan for K = 1."""
    count = len(matrix)
    if count < 2:
        return float("nan")
    return ((matrix.sum() - matrix.diagonal().sum()) / (count * (count - 1))).item()


def share_of_pairs(matrix: Tensor, threshold: float) -> float:
    """Share of the pairs off the diagonal of a symmetric matrix above a threshold; nan for one."""
    return mean_of_pairs((matrix > threshold).float())


def share_of_similar_blocks(similarities: np.ndarray, threshold: float) -> np.ndarray:
    """Share of similar blocks as models get deeper, as in DeepViT's figure 3.

    Args:
        similarities: Similarity of each block's map to that of the block before, (L,) in [-1, 1];
            nan where there is none to compare with.
        threshold: Similarity above which a block counts as similar.

    Returns:
        For each depth l the share among the first l blocks that have a similarity, (L,); nan before
        the first.
    """
    compared = np.cumsum(~np.isnan(similarities))
    similar = np.cumsum(similarities > threshold)
    return np.where(compared > 0, similar / np.maximum(compared, 1), np.nan)


def attention_entropy(rows: Tensor) -> Tensor:
    """Entropy of each query's probabilities (B, H, R, N), as a share of the largest possible.

    Returns:
        Entropy (B, H, R) in [0, 1]: −Σ_j p_j ln p_j / ln N; 0 for N = 1.
    """
    entropy: Tensor = torch.special.entr(rows).sum(-1)
    return entropy / math.log(max(rows.shape[-1], 2))


def patch_similarity(tokens: Tensor) -> float:
    """Mean |cos| in [0, 1] of different patch tokens (B, N, C) of an image, DiversePatch eq. 1."""
    return mean_abs_cosine(tokens.float()).item()


def effective_rank(tokens: Tensor) -> float:
    """Effective rank of tokens (B, N, C): e to the entropy of the normalised singular values.

    Returns:
        Mean over images, in [1, min(N, C)]; 0 for tokens of zeros.
    """
    # Singular values are roots of the smaller Gram matrix's eigenvalues.
    x = tokens.double()
    gram = x @ x.transpose(1, 2) if x.shape[1] < x.shape[2] else x.transpose(1, 2) @ x
    values = torch.linalg.eigvalsh(gram).clamp_min(0)
    # Values below the rounding of the Gram matrix add no rank.
    floor = values.amax(-1, keepdim=True) * max(gram.shape[1:]) * torch.finfo(gram.dtype).eps
    singular = torch.where(values > floor, values, 0.0).sqrt()
    total = singular.sum(-1, keepdim=True)
    shares = singular / total.clamp_min(LEAST_LENGTH)
    ranks = torch.special.entr(shares).sum(-1).exp() * (total[:, 0] > 0)
    return float(ranks.mean())


def high_frequency_energy(tokens: Tensor) -> float:
    """Share of the energy of tokens (B, N, C) outside their mean over the patches.

    ‖X − 1 x̄ᵀ‖² / ‖X‖² with x̄ the mean token: 0 when all patches are the same.

    Returns:
        In [0, 1], the mean over images.
    """
    x = tokens.double()
    rest = x - x.mean(1, keepdim=True)
    energy = x.square().sum((1, 2)).clamp_min(LEAST_LENGTH)
    return (rest.square().sum((1, 2)) / energy).mean().item()


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two layers' tokens: 1 if one is a rotation of the other.

    With columns centred, ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) in the Frobenius norm.

    Args:
        x: (N, C) tokens.
        y: (N, D) the same tokens in another layer.

    Returns:
        In [0, 1]; 0 where a layer's tokens are all the same.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    lengths = (x.t() @ x).norm() * (y.t() @ y).norm()
    return float((x.t() @ y).square().sum() / lengths.clamp_min(LEAST_LENGTH))
