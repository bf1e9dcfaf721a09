"""The published diversity losses for classifiers, as a task of timm's training script.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753; cosine of
heads: DeepViT, https://arxiv.org/abs/2103.11886.
Reference: ChengyueGongR/PatchVisionTransformer for the formulas (no licence; no code of it is
used). The interface is timm's, ``timm/task/classification.py``.
Deviations: none known in the losses. DiversePatch's classifiers were trained with ``mixing=1,
contrastive=1``, no cosine term and dropout 0.2 before both heads (``--drop 0.2``), DeepViT-32B with
``heads=0.1`` alone.

One rectangle of patches, of random area and shape, is drawn for the batch. Inside of it each image
shows another image. With y and y' the smoothed labels of both:

    class token   (1 - s) CE(y) + s CE(y'), s the rectangle's share of the image
    mixing        Σ_r share_r · KL(label of region r, patch head of region r's pooled tokens)
    contrastive   patch embedding against last tokens, a global and a local negative
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.loss.binary_cross_entropy import BinaryCrossEntropy
from timm.loss.cross_entropy import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.task import ClassificationTask
from torch import Tensor, nn

from ..errors import UserError
from ..module_calls import catch_results
from .head_cosine import first_layers
from .losses import Variant, pool_regions
from .patch_mix import PUBLISHED, PatchMix
from .saturation import SaturationWatch
from .settings import LossSettings

#: Losses of the class that are linear in the target.
_LINEAR = (
    nn.CrossEntropyLoss,
    LabelSmoothingCrossEntropy,
    SoftTargetCrossEntropy,
    BinaryCrossEntropy,
)


@dataclass(frozen=True)
class ClassifierDiversity(LossSettings):
    """Settings of a classifier's losses, by default the published ones.

    With ``mixing`` above 0 the images of a batch are mixed.
    """

    cosine: float = 0.0
    variant: Variant = "published_code"


class DiverseClassificationTask(ClassificationTask):
    """timm's task with the published diversity losses, for this package's classifiers.

    timm's script builds it like a ``ClassificationTask``; a subclass made by :meth:`with_diversity`
    holds the settings.

    Args:
        model: :class:`~mmseg_deepvit.timm_models.HeadMixingClassifier`, with ``patch_head=True`` if
            ``mixing`` is above 0.
        *args: Arguments of timm's ``ClassificationTask``.
        **kwargs: Arguments of timm's ``ClassificationTask``.

    Raises:
        UserError: The losses do not work with the model or with the loss of the class.
        ValueError: A weight is below 0, or ``heads`` needs more blocks.
    """

    diversity = ClassifierDiversity()

    @classmethod
    def with_diversity(cls, diversity: ClassifierDiversity) -> type[DiverseClassificationTask]:
        """Make a task class with these settings."""
        return type(cls.__name__, (cls,), {"diversity": diversity})

    def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        settings = self.diversity
        self.losses = settings.build_loss()
        if not hasattr(model, "patch_head"):
            raise UserError(
                f"{type(model).__name__} is no model of mmseg_deepvit; give --model deepvit_..., "
                "diversepatch_... or vit_base_patch16, or no diversity losses"
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
            raise UserError(
                "the model has no patch_head for mixing; add --model-kwargs patch_head=True"
            )
        threshold = getattr(self.criterion, "target_threshold", None)
        if not isinstance(self.criterion, _LINEAR) or threshold is not None:
            raise UserError(
                f"the mixing loss needs a loss that is linear in the target and "
                f"{type(self.criterion).__name__} is not; leave out --jsd-loss or "
                "--bce-target-thresh"
            )

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse compilation: the losses read the model's tokens by hooks."""
        raise UserError(
            "--torchcompile breaks the hooks of diversity losses; leave one of them out"
        )

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Mix a batch, run the model and compute all losses.

        Args:
            input: Normalised images, (B, C, H, W).
            target: Classes, (B,), or distributions over them, (B, K).

        Returns:
            ``loss``, the sum of all losses; ``output``, logits of the mixed images, (B, K); and
            each weighted diversity loss by its name.
        """
        parts, regions = [target], None
        if self.patch_mix is not None:
            input, partners, regions = mix_batch(self.patch_mix, input)
            parts.append(target[partners])
        logits, terms = self.trainable_module(input, _Measure(self, parts, regions))
        # The criterion is linear in the target, so classes need not become distributions.
        losses = torch.stack([self.criterion(logits, part) for part in parts])
        shares = 1 if regions is None else _shares(regions, losses)
        loss = (shares * losses).sum() + sum(terms.values())
        if "loss_contrastive" in terms:
            self._watch.look(terms["loss_contrastive"] / self.diversity.contrastive)
        return {"loss": loss, "output": logits, **terms}

    def distribution(self, target: Tensor, num_classes: int) -> Tensor:
        """Turn classes, (B,), into distributions, (B, K), smoothed as the criterion smooths."""
        if target.is_floating_point():
            return target
        names = ("smoothing", "label_smoothing")  # in timm and in PyTorch
        smoothing: float = max(getattr(self.criterion, name, 0.0) for name in names)
        off = smoothing / num_classes
        spread = torch.full((len(target), num_classes), off, device=target.device)
        return spread.scatter_(1, target.long()[:, None], 1 - off * (num_classes - 1))


def mix_batch(patch_mix: PatchMix, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Replace one rectangle of patches in all images by the same rectangle of other images.

    Args:
        patch_mix: Mixer that draws the rectangle.
        images: Images, (B, C, H, W).

    Returns:
        The mixed images, (B, C, H, W); the indices of the images in the rectangle, (B,); and the
        patches outside and inside of it, (2, N) bool.
    """
    size = (images.shape[2], images.shape[3])
    patches = patch_mix.draw_patches(1, size)
    partners = torch.randperm(len(images)).to(images.device)
    pixels = patch_mix.to_pixels(patches, size)[:, None].to(images.device)
    inside = patches.flatten(1).to(images.device)
    mixed = torch.where(pixels, images[partners], images)
    return mixed, partners, torch.cat([~inside, inside])


def _shares(regions: Tensor, like: Tensor) -> Tensor:
    """Share of each region in the image, (R,), in the dtype of a tensor, at least fp32."""
    return regions.to(torch.promote_types(like.dtype, torch.float32)).mean(1)


@dataclass(frozen=True, eq=False)
class _Measure:
    """Run of a classifier and its diversity losses within the model's ``forward``.

    Wrappers of the model, such as DistributedDataParallel, then see the losses too.

    Attributes:
        task: Task with the losses.
        parts: Targets of each region's images.
        regions: Patches of each region, (R, N) bool, or None.
    """

    task: DiverseClassificationTask
    parts: list[Tensor]
    regions: Tensor | None

    def __call__(self, model: Any, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Map images, (B, C, H, W), to logits, (B, K), and the weighted losses by name."""
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
