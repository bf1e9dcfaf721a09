"""Patch tokens as colours: their first three principal components, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..tokens.patch_tokens import PatchTokens


class TokenPCA(NamedTuple):
    """Principal components of the tokens of one image in one layer.

    Attributes:
        scores: Tokens along the components, (h·w, K); the component of largest variance is first.
        shares: Share of the tokens' variance that each component has, (K,), in [0, 1].
        grid: Numbers of patches, (h, w).
    """

    scores: Tensor
    shares: Tensor
    grid: tuple[int, int]


def token_pca(tokens: PatchTokens, components: int = 3) -> TokenPCA:
    """Principal components of an image's tokens; signs are such that the largest score is positive.

    Args:
        tokens: Tokens of one image, (1, h·w, C).
        components: Number K of components; missing ones are zero.

    Returns:
        Components on the CPU, float64.
    """
    x = tokens.tokens[0].double().cpu()
    x = x - x.mean(0)
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    scores, variances = u[:, :components] * s[:components], s.square()
    largest = scores.gather(0, scores.abs().argmax(0, keepdim=True))
    scores = scores * torch.where(largest < 0, -1.0, 1.0)
    shares = variances[:components] / variances.sum().clamp(min=torch.finfo(x.dtype).tiny)
    missing = components - scores.shape[1]
    return TokenPCA(F.pad(scores, (0, missing)), F.pad(shares, (0, missing)), tokens.grid)


def align_signs(layers: Sequence[TokenPCA]) -> list[TokenPCA]:
    """Choose signs so that each component agrees with that of the layer before.

    A component's sign is arbitrary, and colours would flip at random from layer to layer.

    Args:
        layers: Components of the layers, in their order; grids may differ.

    Returns:
        The same components, some of them negated.
    """
    aligned = list(layers[:1])
    for pca in layers[1:]:
        before = aligned[-1].scores.T.reshape(1, -1, *aligned[-1].grid)
        if aligned[-1].grid != pca.grid:
            before = F.interpolate(before, pca.grid, mode="bilinear", antialias=True)
        agreement = (before[0].flatten(1).T * pca.scores).sum(0)
        signs = torch.where(agreement < 0, -1.0, 1.0)
        aligned.append(pca._replace(scores=pca.scores * signs))
    return aligned


def to_colours(pca: TokenPCA, cut: float = 0.01) -> np.ndarray:
    """Three components as red, green and blue, each stretched over its own range.

    Args:
        pca: Three components.
        cut: Share of the tokens that is clipped at either end, in [0, 0.5): one token of large
            norm would make all others grey.

    Returns:
        Colours (h·w, 3) in [0, 1]; a constant component is 0.5.
    """
    scores = pca.scores.numpy()
    low, high = np.quantile(scores, [cut, 1 - cut], axis=0)
    flat = high - low <= 1e-12 * np.abs(scores).max(initial=1e-300)
    stretched = (scores - low) / np.where(flat, 1.0, high - low)
    return np.where(flat, 0.5, stretched.clip(0, 1))
