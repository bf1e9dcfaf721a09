"""The published diversity losses for classifiers, as a task of timm's training script.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753; cosine of
heads: DeepViT, https://arxiv.org/abs/2103.11886.
Reference: ChengyueGongR/PatchVisionTransformer for what is computed (no licence; no code of it is
used). The interface is timm's, ``timm/task/classification.py``.
Deviations: none known in the losses. As published, DiversePatch's classifiers were trained with
``mixing=1, contrastive=1``, no cosine term and dropout 0.2 before both heads (``--drop 0.2``), and
DeepViT-32B with ``heads=0.1`` alone.

One rectangle of patches, of random area and shape, is drawn for the batch; each image is
itself outside of it, and another one inside. With y and y' their labels, smoothed:

    class token   (1 - s) CE(y) + s CE(y'), s the rectangle's share of the image
    mixing        Σ_r share_r · KL(label of region r, patch head of region r's pooled tokens)
    contrastive   patch embedding against last tokens, a global and a local negative
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.data.mixup import one_hot
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.task import ClassificationTask
from torch import Tensor, nn

from ..errors import UserError
from ..module_calls import catch_results
from .head_cosine import first_layers
from .losses import TEMPERATURE, DiversityLoss, Variant, pool_regions
from .patch_mix import PUBLISHED, PatchMix
from .saturation import SaturationWatch

#: Losses of the class that mix as labels do.
_LINEAR = (
    nn.CrossEntropyLoss,
    LabelSmoothingCrossEntropy,
    SoftTargetCrossEntropy,
    BinaryCrossEntropy,
)


@dataclass(frozen=True)
class ClassifierDiversity:
    """Weights of the losses of a classifier; zero means that a term is not computed.

    Attributes:
        mixing: Weight of the mixing loss, at least 0; above 0 the images of a batch are mixed.
        contrastive: Weight of the contrastive loss, at least 0.
        cosine: Weight of the cosine loss, at least 0.
        heads: Weight of the cosine of heads, at least 0.
        variant: Form of the contrastive loss.
        temperature: Divisor of the cosines of ``variant='cosine'``, above 0.
        head_pairs: Number of pairs of blocks that ``heads`` compares, from the first on.
    """

    mixing: float = 1.0
    contrastive: float = 1.0
    cosine: float = 0.0
    heads: float = 0.0
    variant: Variant = "published_code"
    temperature: float = TEMPERATURE
    head_pairs: int = 2


class DiverseClassificationTask(ClassificationTask):
    """timm's task with the diversity losses as published, for classifiers of ours.

    timm's script makes it as it makes a ``ClassificationTask``; a subclass of
    :meth:`with_diversity` holds the weights.

    Args:
        model: A :class:`~mmseg_deepvit.timm_models.HeadMixingClassifier`, with ``patch_head=True``
            if ``mixing`` is above 0.
        *args: As timm's ``ClassificationTask``.
        **kwargs: Likewise.

    Raises:
        UserError: A model that has not what the losses need, or a loss of the class that cannot be
            mixed.
        ValueError: A weight below 0, or too few blocks for ``heads``.
    """

    diversity = ClassifierDiversity()

    @classmethod
    def with_diversity(cls, diversity: ClassifierDiversity) -> type[DiverseClassificationTask]:
        """A task of these weights."""
        return type(cls.__name__, (cls,), {"diversity": diversity})

    def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        settings = self.diversity
        self.losses = DiversityLoss(
            settings.cosine,
            settings.contrastive,
            settings.mixing,
            settings.variant,
            settings.heads,
            settings.temperature,
        )
        if not hasattr(model, "patch_head"):
            raise UserError(
                f"{type(model).__name__} is no model of mmseg_deepvit: give --model deepvit_... or "
                "diversepatch_..., or no diversity losses"
            )
        if settings.mixing > 0:
            self._check_mixing(model)
        self.layers = first_layers(model, settings.head_pairs + 1) if settings.heads > 0 else []
        self.patch_mix = PatchMix(model.patch_size, **PUBLISHED) if settings.mixing > 0 else None
        self._watch = SaturationWatch(
            "raise --temperature, or give --contrastive 0"
            if settings.variant == "cosine"
            else "give --variant cosine, or --contrastive 0"
        )

    def _check_mixing(self, model: Any) -> None:
        if model.patch_head is None:
            raise UserError("the mixing loss needs --model-kwargs patch_head=True")
        threshold = getattr(self.criterion, "target_threshold", None)
        if not isinstance(self.criterion, _LINEAR) or threshold is not None:
            raise UserError(
                f"the mixing loss does not go with {type(self.criterion).__name__}, which is not "
                "linear in the target: leave out what asks for it (--jsd-loss, --bce-target-thresh)"
            )

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: the losses look into the model by hooks."""
        raise UserError("diversity losses do not go with --torchcompile: leave one of them out")

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Mix a batch, run the model and compute all losses.

        Args:
            input: Normalised images, (B, C, H, W).
            target: Classes, (B,), or distributions over them, (B, K).

        Returns:
            ``loss``, their sum; ``output``, logits of the mixed images, (B, K); and each weighted
            term of diversity by its name.
        """
        parts, regions = [target], None
        if self.patch_mix is not None:
            input, partners, regions = mix_batch(self.patch_mix, input)
            parts.append(target[partners])
        logits, terms = self.trainable_module(input, _Measure(self, parts, regions))
        # Linear in the target, so that classes need not become distributions for it.
        losses = torch.stack([self.criterion(logits, part) for part in parts])
        shares = 1 if regions is None else _shares(regions, losses)
        loss = (shares * losses).sum() + sum(terms.values())
        if "loss_contrastive" in terms:
            self._watch.look(terms["loss_contrastive"] / self.diversity.contrastive)
        return {"loss": loss, "output": logits, **terms}

    def distribution(self, target: Tensor, num_classes: int) -> Tensor:
        """(B,) classes, smoothed as the criterion smooths, or what is one already, as (B, K)."""
        if target.is_floating_point():
            return target
        names = ("smoothing", "label_smoothing")  # timm's, PyTorch's
        smoothing = next(
            (getattr(self.criterion, n) for n in names if hasattr(self.criterion, n)), 0
        )
        off = smoothing / num_classes
        return one_hot(target, num_classes, on_value=1 - off * (num_classes - 1), off_value=off)


def mix_batch(patch_mix: PatchMix, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Replace one rectangle of patches of all images by that of others.

    Args:
        patch_mix: Draws the rectangle.
        images: (B, C, H, W).

    Returns:
        The mixed images, (B, C, H, W); whose part is in the rectangle, (B,); and the patches
        outside and inside of it, (2, N) bool.
    """
    size = (images.shape[2], images.shape[3])
    patches = patch_mix.draw_patches(1, size)
    partners = torch.randperm(len(images)).to(images.device)
    pixels = patch_mix.to_pixels(patches, size)[:, None].to(images.device)
    inside = patches.flatten(1).to(images.device)
    mixed = torch.where(pixels, images[partners], images)
    return mixed, partners, torch.cat([~inside, inside])


def _shares(regions: Tensor, like: Tensor) -> Tensor:
    """Shares of regions in the images, (R,), in the dtype of a tensor, at least fp32."""
    return regions.to(torch.promote_types(like.dtype, torch.float32)).mean(1)


@dataclass(frozen=True, eq=False)
class _Measure:
    """Runs a classifier and computes its losses of diversity, within the model's own ``forward``.

    So it is inside what wraps the model, such as DistributedDataParallel.

    Attributes:
        task: Which losses.
        parts: Targets of each region's image.
        regions: (R, N) bool, patches of each region, or None.
    """

    task: DiverseClassificationTask
    parts: list[Tensor]
    regions: Tensor | None

    def __call__(self, model: Any, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, C, H, W) images to (B, K) logits and the weighted terms by name."""
        layers = {layer: layer.split_heads for layer in self.task.layers}
        with catch_results({"embed": model.patch_embed, **layers}) as caught:
            tokens = model.forward_features(images)
        last = tokens[:, model.num_prefix_tokens :]
        early, grid = caught.pop("embed")
        logits = model.forward_head(tokens)
        arguments: dict[str, Any] = dict(layers=list(caught.items()))
        if self.regions is not None:
            pooled = model.head_drop(pool_regions(last, self.regions))
            found = model.patch_head(pooled)
            targets = [self.task.distribution(part, found.shape[-1]) for part in self.parts]
            arguments.update(
                logits=found, targets=torch.stack(targets), shares=_shares(self.regions, last)
            )
        return logits, self.task.losses(last, early, grid=grid, **arguments)
