"""Losses that keep the patch tokens of an image different from each other.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753, section 4.
Reference: ChengyueGongR/PatchVisionTransformer for the published forms (no licence; no code of it
is used).
Deviations: losses are computed in at least fp32, also under autocast. The mixing loss has two
forms. The dense one, for segmentation, takes soft targets for each patch, since a patch of a label
map holds several classes (:mod:`mmseg_deepvit.diversity.class_mix`). The published one, for
classifiers (:mod:`mmseg_deepvit.diversity.classification`), has one label for each image: it pools
the tokens of each image's region and weights the regions by area.

With n tokens of an image, a_i early and b_i last:

    cosine       mean over i ≠ j of |cos(b_i, b_j)|
    contrastive  − mean_i log( e^{a_i·b_i} / (e^{a_i·b_i} + e^{a_i·mean_{j≠i} b_j}) )
    mixing       mean_i CE(g(b_i), y_i), g a linear layer and y_i the classes of patch i
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from .cosine import LEAST_LENGTH, mean_abs_cosine
from .head_cosine import MapLayer, head_cosine_loss

T = TypeVar("T")

#: Form of the contrastive loss; see :func:`patch_contrastive_loss`.
Variant = Literal["paper", "published_code", "cosine"]
VARIANTS: tuple[str, ...] = get_args(Variant)

#: Side, in patches, of the neighbourhood of the published code's local negative.
NEIGHBOURHOOD = 7
#: Numbers that the published code adds to a probability before its logarithm, and to a count of
#: patches.
PROBABILITY_FLOOR = 1e-8
REGION_EPS = 1e-4
#: Divisor of the cosines in the variant of unit vectors. With its single negative, cosines of 1 and
#: 0 cost 0.007; the usual 0.1, for many negatives, would leave 5e-5.
TEMPERATURE = 0.2


def patch_cosine_loss(tokens: Tensor, block_rows: int | None = None) -> Tensor:
    """Average the absolute cosine similarity of different tokens of an image.

    It builds no full (N, N) matrix and takes O(N·C + block_rows·N) memory.

    Args:
        tokens: Patch tokens without class token, (B, N, C), any floating dtype. Tokens shorter than
            1e-6 count as nearly orthogonal to all others.
        block_rows: Number of rows of similarities at a time; None chooses.

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
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Make each last token match the early token of its patch, not those of other patches.

    Variants:

    * ``'paper'``: the negative of a patch is the mean of all other last tokens.
    * ``'published_code'``: the softmax has a second, local negative: the sum of the other last
      tokens in the 7×7 patches around, divided by 48 (zeros count as tokens outside the border).
      1e-8 is added to the probability before its logarithm, so a patch costs at most 18.42.
      ``early`` is the patch embedding in that code.
    * ``'cosine'``: the paper's form on unit vectors, with products divided by ``temperature``. The
      length of tokens does not matter, so the loss acts where dot products saturate the others.

    Args:
        early: Tokens of the first block or the embedding, (B, N, C); they get no gradient.
        last: Tokens of the last block, (B, N, C).
        variant: Name of the variant.
        grid: Numbers of patches (h, w), h·w = N, tokens row by row; ``'published_code'`` needs it.
        temperature: Divisor of the cosines, above 0; only ``'cosine'`` has one.

    Returns:
        Scalar, at least 0 (``'published_code'``: from -1e-8 to 18.42), the mean over images and
        tokens, at least fp32; 0 for a single token.

    Raises:
        ValueError: Shapes or grid do not agree, the variant is unknown, or the temperature is not
            above 0.
    """
    _check_tokens("last", last)
    if early.shape != last.shape:
        raise ValueError(
            f"early and last tokens must have equal shapes, got {tuple(early.shape)} and "
            f"{tuple(last.shape)}"
        )
    check_variant(variant)
    check_temperature(temperature)
    num_tokens = last.shape[1]
    with torch.autocast(last.device.type, enabled=False):
        a, b = _at_least_fp32(early.detach()), _at_least_fp32(last)
        if variant == "cosine":
            a, b = (F.normalize(tokens, dim=-1, eps=LEAST_LENGTH) for tokens in (a, b))
            a = a / temperature
        sums = _neighbourhood_sums(b, grid) if variant == "published_code" else None
        if num_tokens == 1:
            return 0.0 * b.sum()
        positive = (a * b).sum(-1)
        # a·(mean over j≠i of b_j), without building the means.
        logits = [positive, ((a * b.sum(1, keepdim=True)).sum(-1) - positive) / (num_tokens - 1)]
        if sums is not None:
            logits.append(((a * sums).sum(-1) - positive) / (NEIGHBOURHOOD**2 - 1))
        log_probability = torch.stack(logits, dim=-1).log_softmax(-1)[..., 0]
        if variant == "published_code":
            log_probability = _log_with_floor(log_probability)
        return -log_probability.mean()


def patch_mixing_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the cross-entropy of each token with the shares of classes in its patch.

    Args:
        logits: Logits of the patches, (B, N, K), any floating dtype.
        targets: Share of each class in each patch, (B, N, K); rows sum to one, or to zero for an
            ignored patch, as from :func:`~mmseg_deepvit.diversity.class_mix.patch_class_mix`.

    Returns:
        Scalar, at least 0, the mean over all tokens that are not ignored, at least fp32. If all
        are ignored, it is 0 with a gradient of zero.

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


def pool_regions(tokens: Tensor, regions: Tensor) -> Tensor:
    """Average the tokens of each region, as the published code does.

    Args:
        tokens: Tokens, (B, N, C), any floating dtype.
        regions: Patches of each region, (R, N) bool, the same for all images.

    Returns:
        (R, B, C), at least fp32. The sum over a region of n patches is divided by n + 1e-4; an
        empty region gives zero.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        tokens = _at_least_fp32(tokens)
        masks = regions.to(tokens.dtype)
        sums = torch.einsum("rn,bnc->rbc", masks, tokens)
        return sums / (masks.sum(1) + REGION_EPS)[:, None, None]


def region_mixing_loss(logits: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
    """Compute the published mixing loss: each region shall show the class of its image.

    It is the Kullback-Leibler divergence of the predicted from the true distribution, weighted by
    the region's share of the mixed image.

    Args:
        logits: Logits of the pooled tokens of each region, (R, B, K), any floating dtype.
        targets: Distribution over the classes for the image of each region, (R, B, K).
        shares: Share of each region in the image, (R,), in [0, 1].

    Returns:
        Scalar, the sum over regions of the means over images, at least fp32. As in the published
        code, 1e-8 is added to each probability before its logarithm.

    Raises:
        ValueError: The shapes do not agree.
    """
    if logits.ndim != 3 or targets.shape != logits.shape or shares.shape != logits.shape[:1]:
        raise ValueError(
            "logits and targets must be of shape (regions, batch, classes) and shares of "
            f"(regions,), got {tuple(logits.shape)}, {tuple(targets.shape)} and "
            f"{tuple(shares.shape)}"
        )
    with torch.autocast(logits.device.type, enabled=False):
        logits = _at_least_fp32(logits)
        predicted = _log_with_floor(logits.log_softmax(-1))
        divergence = F.kl_div(predicted, targets.to(logits.dtype), reduction="none").sum(-1)
        return (shares.to(logits.dtype) * divergence.mean(1)).sum()


@MODELS.register_module()
class DiversityLoss(nn.Module):
    """Weighted diversity losses; a term of weight zero is not computed.

    Args:
        cosine: Weight of :func:`patch_cosine_loss`.
        contrastive: Weight of :func:`patch_contrastive_loss`.
        mixing: Weight of :func:`patch_mixing_loss`, or of :func:`region_mixing_loss`.
        variant: Form of the contrastive loss, ``'paper'``, ``'published_code'`` or ``'cosine'``.
        heads: Weight of :func:`~mmseg_deepvit.diversity.head_cosine.head_cosine_loss`; 0.1 in
            published DeepViT-32B.
        temperature: Divisor of the cosines of ``variant='cosine'``, above 0.

    Raises:
        ValueError: A weight is below zero or not finite, the variant is unknown, or the temperature
            is not above 0.
    """

    def __init__(
        self,
        cosine: float = 1.0,
        contrastive: float = 1.0,
        mixing: float = 1.0,
        variant: Variant = "paper",
        heads: float = 0.0,
        temperature: float = TEMPERATURE,
    ) -> None:
        super().__init__()
        check_variant(variant)
        check_temperature(temperature)
        self.weights = {
            "cosine": cosine,
            "contrastive": contrastive,
            "mixing": mixing,
            "heads": heads,
        }
        for name, weight in self.weights.items():
            if not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
                raise ValueError(f"{name} is a weight and must be at least 0, got {weight!r}")
        self.variant: Variant = variant
        self.temperature = temperature

    @property
    def wants_tokens(self) -> bool:
        """Whether any term needs tokens."""
        return any(weight > 0 for name, weight in self.weights.items() if name != "heads")

    def forward(
        self,
        last: Tensor | None = None,
        early: Tensor | None = None,
        logits: Tensor | None = None,
        targets: Tensor | None = None,
        grid: tuple[int, int] | None = None,
        layers: Sequence[MapLayer] | None = None,
        shares: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the terms whose weight is not zero.

        Args:
            last: Last tokens, (B, N, C), for the cosine and contrastive terms.
            early: Early tokens, (B, N, C), for the contrastive term.
            logits: Logits of patches, (B, N, K), or with ``shares`` of regions, (R, B, K), for the
                mixing term.
            targets: Shares of the classes, in the shape of the logits, for the mixing term.
            grid: Numbers of patches, (h, w), for ``variant='published_code'``.
            layers: Attention layers and results of their ``split_heads``, for the heads term.
            shares: Shares of regions in the images, (R,), for :func:`region_mixing_loss`; None
                takes :func:`patch_mixing_loss`.

        Returns:
            Weighted scalars by name: ``loss_cosine``, ``loss_contrastive``, ``loss_mixing``,
            ``loss_heads``.

        Raises:
            ValueError: An argument of a term is missing or does not fit.
        """
        losses = {}
        if self.weights["cosine"] > 0:
            losses["cosine"] = patch_cosine_loss(_given("cosine", "last tokens", last))
        if self.weights["contrastive"] > 0:
            losses["contrastive"] = patch_contrastive_loss(
                _given("contrastive", "early tokens", early),
                _given("contrastive", "last tokens", last),
                self.variant,
                grid,
                self.temperature,
            )
        if self.weights["mixing"] > 0:
            logits = _given("mixing", "logits and targets", logits)
            targets = _given("mixing", "logits and targets", targets)
            losses["mixing"] = (
                patch_mixing_loss(logits, targets)
                if shares is None
                else region_mixing_loss(logits, targets, shares)
            )
        if self.weights["heads"] > 0:
            losses["heads"] = head_cosine_loss(_given("heads", "attention layers", layers))
        return {f"loss_{name}": self.weights[name] * loss for name, loss in losses.items()}

    def extra_repr(self) -> str:
        """Weights and variant."""
        weights = ", ".join(f"{name}={weight:g}" for name, weight in self.weights.items())
        return f"{weights}, variant={self.variant!r}, temperature={self.temperature:g}"


def _given(term: str, what: str, value: T | None) -> T:
    if value is None:
        raise ValueError(f"the {term} term needs {what}; give them, or weight 0")
    return value


def check_temperature(temperature: float) -> None:
    """Raise a ValueError unless a temperature is a number above 0."""
    if not isinstance(temperature, (int, float)) or not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be a number above 0, got {temperature!r}")


def check_variant(variant: str) -> None:
    """Raise a ValueError unless the contrastive loss has a variant of this name."""
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")


def _neighbourhood_sums(tokens: Tensor, grid: tuple[int, int] | None) -> Tensor:
    """Sum the tokens of the 7×7 patches around each patch and of itself, (B, N, C)."""
    if grid is None or grid[0] * grid[1] != tokens.shape[1]:
        raise ValueError(
            f"variant='published_code' needs the grid (h, w) of the {tokens.shape[1]} tokens, "
            f"got {grid}"
        )
    maps = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
    side, pad = NEIGHBOURHOOD, NEIGHBOURHOOD // 2
    # Columns first, then rows: 14 additions for each patch, not 49.
    maps = F.avg_pool2d(maps, (side, 1), stride=1, padding=(pad, 0), divisor_override=1)
    maps = F.avg_pool2d(maps, (1, side), stride=1, padding=(0, pad), divisor_override=1)
    return maps.flatten(2).transpose(1, 2)


def _log_with_floor(log_probability: Tensor) -> Tensor:
    """Compute log(p + 1e-8) from log p."""
    floor = log_probability.new_tensor(PROBABILITY_FLOOR).log()
    return torch.logaddexp(log_probability, floor)


def _at_least_fp32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _check_tokens(name: str, tokens: Tensor) -> None:
    if tokens.ndim != 3 or tokens.numel() == 0:
        raise ValueError(
            f"{name} must be of shape (batch, tokens, channels), none zero, got "
            f"{tuple(tokens.shape)}"
        )
