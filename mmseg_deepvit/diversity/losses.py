"""Losses that keep the patch tokens of an image different from each other.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753, section 4.
Reference: ChengyueGongR/PatchVisionTransformer has no licence; all is written from the paper, the
published code's contrastive loss from a description in words.
Deviations: computed in at least fp32 whatever autocast says; the mixing loss takes soft targets,
since a patch of a label map holds several classes (:mod:`mmseg_deepvit.diversity.class_mix`).

With n tokens an image, a_i the early and b_i the last ones:

    cosine       mean over i ≠ j of |cos(b_i, b_j)|
    contrastive  − mean_i log( e^{a_i·b_i} / (e^{a_i·b_i} + e^{a_i·mean_{j≠i} b_j}) )
    mixing       mean_i CE(g(b_i), y_i), g a linear layer and y_i the classes of patch i
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from .cosine import mean_abs_cosine

#: Form of the contrastive loss; see :func:`patch_contrastive_loss`.
Variant = Literal["paper", "published_code"]
VARIANTS: tuple[str, ...] = get_args(Variant)

#: Side, in patches, of the neighbourhood of the published code's local negative.
NEIGHBOURHOOD = 7


def patch_cosine_loss(tokens: Tensor, block_rows: int | None = None) -> Tensor:
    """Mean absolute cosine similarity of different tokens of an image.

    No (N, N) matrix is ever whole: it takes O(N·C + block_rows·N) memory.

    Args:
        tokens: (B, N, C), any floating dtype, N patch tokens without class token. Tokens shorter
            than 1e-6 count as (nearly) orthogonal to all others.
        block_rows: Rows of similarities at a time; None chooses.

    Returns:
        Scalar in [0, 1], the mean over images, at least fp32; 0 for a single token.

    Raises:
        ValueError: ``tokens`` is not (B, N, C) or empty, or ``block_rows`` is below 1.
    """
    _check_tokens("tokens", tokens)
    if block_rows is not None and block_rows < 1:
        raise ValueError(f"block_rows must be at least 1, got {block_rows}")
    with torch.autocast(tokens.device.type, enabled=False):
        return mean_abs_cosine(_at_least_fp32(tokens), block_rows)


def patch_contrastive_loss(
    early: Tensor,
    last: Tensor,
    variant: Variant = "paper",
    grid: tuple[int, int] | None = None,
) -> Tensor:
    """Each last token should match its own early token, not those of other patches.

    Variants:

    * ``'paper'``: the negative of a patch is the mean of all other last tokens.
    * ``'published_code'``: two negatives in one softmax, that mean and the mean of the other last
      tokens in the 7×7 patches around (fewer at the border). ``early`` is the patch embedding
      there.

    Args:
        early: (B, N, C), from the first block or the embedding; no gradient flows into it.
        last: (B, N, C), from the last block.
        variant: See above.
        grid: (h, w) with h·w = N, tokens row by row; ``'published_code'`` needs it.

    Returns:
        Scalar, at least 0, the mean over images and tokens, at least fp32; 0 for a single token,
        which has no others.

    Raises:
        ValueError: Shapes or grid do not agree, or an unknown variant.
    """
    _check_tokens("last", last)
    if early.shape != last.shape:
        raise ValueError(
            f"early and last tokens must have one shape, got {tuple(early.shape)} and "
            f"{tuple(last.shape)}"
        )
    check_variant(variant)
    num_tokens = last.shape[1]
    with torch.autocast(last.device.type, enabled=False):
        a, b = _at_least_fp32(early.detach()), _at_least_fp32(last)
        positive = (a * b).sum(-1)
        logits = [positive]
        if num_tokens > 1:
            # a·mean over j≠i of b_j, without the means themselves.
            logits.append(((a * b.sum(1, keepdim=True)).sum(-1) - positive) / (num_tokens - 1))
        if variant == "published_code":
            sums, counts = _neighbourhood_sums(b, grid)
            if num_tokens > 1:
                logits.append(((a * sums).sum(-1) - positive) / (counts - 1))
        return -torch.stack(logits, dim=-1).log_softmax(-1)[..., 0].mean()


def patch_mixing_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each token with the class mix of its own patch.

    Args:
        logits: (B, N, K), any floating dtype.
        targets: (B, N, K), the share of each class in the patch; rows sum to one, or to zero where
            the patch is to be ignored, as
            :func:`~mmseg_deepvit.diversity.class_mix.patch_class_mix` makes them.

    Returns:
        Scalar, at least 0, the mean over all tokens that are not ignored, at least fp32. Where all
        are, 0 with a gradient of zero.

    Raises:
        ValueError: The shapes differ.
    """
    _check_tokens("logits", logits)
    if targets.shape != logits.shape:
        raise ValueError(
            f"targets must have the shape of the logits, {tuple(logits.shape)}, got "
            f"{tuple(targets.shape)}"
        )
    with torch.autocast(logits.device.type, enabled=False):
        logits = _at_least_fp32(logits).flatten(0, 1)
        targets = targets.to(logits.dtype).flatten(0, 1)
        total = F.cross_entropy(logits, targets, reduction="sum")
        return total / targets.any(-1).sum().clamp(min=1)


@MODELS.register_module()
class DiversityLoss(nn.Module):
    """The three losses, weighted; a weight of zero means that a term is not computed.

    Args:
        cosine: Weight of :func:`patch_cosine_loss`.
        contrastive: Weight of :func:`patch_contrastive_loss`.
        mixing: Weight of :func:`patch_mixing_loss`.
        variant: Form of the contrastive loss, ``'paper'`` or ``'published_code'``.

    Raises:
        ValueError: A weight below zero or not finite, or an unknown variant.
    """

    def __init__(
        self,
        cosine: float = 1.0,
        contrastive: float = 1.0,
        mixing: float = 1.0,
        variant: Variant = "paper",
    ) -> None:
        super().__init__()
        check_variant(variant)
        self.weights = {"cosine": cosine, "contrastive": contrastive, "mixing": mixing}
        for name, weight in self.weights.items():
            if not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
                raise ValueError(f"{name} is a weight and must be at least 0, got {weight!r}")
        self.variant: Variant = variant

    def forward(
        self,
        last: Tensor,
        early: Tensor | None = None,
        logits: Tensor | None = None,
        targets: Tensor | None = None,
        grid: tuple[int, int] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the terms whose weight is not zero.

        Args:
            last: Last tokens, (B, N, C).
            early: Early tokens, (B, N, C); the contrastive term needs them.
            logits: Of the patches' classes, (B, N, K); the mixing term needs them.
            targets: Their class mixes, (B, N, K); likewise.
            grid: (h, w) of the tokens; the published code's contrastive loss needs it.

        Returns:
            Weighted scalars by name: ``loss_cosine``, ``loss_contrastive``, ``loss_mixing``.

        Raises:
            ValueError: What a term needs is missing or does not fit.
        """
        losses = {}
        if self.weights["cosine"] > 0:
            losses["cosine"] = patch_cosine_loss(last)
        if self.weights["contrastive"] > 0:
            if early is None:
                raise ValueError("the contrastive term needs early tokens: give them, or weight 0")
            losses["contrastive"] = patch_contrastive_loss(early, last, self.variant, grid)
        if self.weights["mixing"] > 0:
            if logits is None or targets is None:
                raise ValueError("the mixing term needs logits and targets: give them, or weight 0")
            losses["mixing"] = patch_mixing_loss(logits, targets)
        return {f"loss_{name}": self.weights[name] * loss for name, loss in losses.items()}

    def extra_repr(self) -> str:
        """Weights and variant."""
        weights = ", ".join(f"{name}={weight:g}" for name, weight in self.weights.items())
        return f"{weights}, variant={self.variant!r}"


def check_variant(variant: str) -> None:
    """Raise a ValueError for what is no variant of the contrastive loss."""
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")


def _neighbourhood_sums(tokens: Tensor, grid: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """Sums over the patches around each patch, itself included, as far as they exist.

    Returns:
        Sums, (B, N, C), and how many patches they are over, (N,).
    """
    if grid is None or grid[0] * grid[1] != tokens.shape[1]:
        raise ValueError(
            f"variant='published_code' needs the grid (h, w) of the {tokens.shape[1]} tokens, "
            f"got {grid}"
        )
    maps = tokens.transpose(1, 2).unflatten(2, grid)
    sums = _box_sum(maps).flatten(2).transpose(1, 2)
    counts = _box_sum(maps.new_ones(1, 1, *grid)).flatten()
    return sums, counts


def _box_sum(maps: Tensor) -> Tensor:
    """Sums over NEIGHBOURHOOD², zeros outside, of (B, C, h, w) maps; first columns, then rows."""
    side, pad = NEIGHBOURHOOD, NEIGHBOURHOOD // 2
    maps = F.avg_pool2d(maps, (side, 1), stride=1, padding=(pad, 0), divisor_override=1)
    return F.avg_pool2d(maps, (1, side), stride=1, padding=(0, pad), divisor_override=1)


def _at_least_fp32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _check_tokens(name: str, tokens: Tensor) -> None:
    if tokens.ndim != 3 or tokens.numel() == 0:
        raise ValueError(
            f"{name} must be of shape (batch, tokens, channels), none zero, got "
            f"{tuple(tokens.shape)}"
        )
