"""A segmentor that keeps the patch tokens of its backbone different while it trains.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753, section 4;
the term of heads: DeepViT, https://arxiv.org/abs/2103.11886.
Reference: mmsegmentation ``mmseg/models/segmentors/encoder_decoder.py``, which it extends.
Deviations: the published code has these losses for classifiers alone, with weights mixing 1,
contrastive 1 and cosine 0 (:mod:`mmseg_deepvit.diversity.classification` is that form); its
segmentation is plain fine-tuning. Here is the dense form: the mixing loss asks each token for the
classes of its own patch of the label map, not pooled regions for the one label of an image, and
PatchMix mixes label maps. Images have several classes in segmentation, so a region's pooled tokens
have no one label. The contrastive loss compares tokens of one width and grid, hence of one stage
where stages differ, as in Swin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..attention import HeadMixingAttention
from ..inference import SlidingEncoderDecoder
from ..module_calls import catch_results
from ..tokens.backbone_facts import check_source, find_patch_size, find_width, sibling_blocks
from ..tokens.patch_tokens import (
    PatchTokens,
    catch_outputs,
    read_tokens,
)
from .class_mix import patch_class_mix
from .head_cosine import first_layers
from .losses import DiversityLoss
from .patch_mix import PatchMix
from .saturation import SaturationWatch
from .settings import DiversitySettings


@MODELS.register_module()
class DiverseEncoderDecoder(SlidingEncoderDecoder):
    """``EncoderDecoder`` whose training adds the diversity losses, and may mix images by patches.

    Prediction is ``SlidingEncoderDecoder``'s: ``EncoderDecoder``'s, windows in batches. With all
    weights zero and no ``patch_mix`` training is ``EncoderDecoder``'s too. A mixing loss has a
    linear ``patch_head`` of its own on the last tokens, whose width it reads from the backbone;
    ``diversity.mixing_channels`` gives the width of a backbone that does not tell it. Weights of a
    warm-up follow the runner's iteration, also when a training is resumed. A contrastive loss that
    has no effect, since it is zero to all digits that are logged, is told once.

    Args:
        *args: As ``EncoderDecoder``.
        diversity: Attributes of :class:`~mmseg_deepvit.diversity.settings.DiversitySettings`; an
            empty dict is the paper's: all weights 1, first and last of the backbone's outputs,
            taken before the neck.
        **kwargs: As ``EncoderDecoder``.

    Raises:
        ValueError: A value that ``diversity`` does not take, a submodule that is not there, a width
            that cannot be told, or ``heads`` with a backbone that has not the attention for it.
        TypeError: ``diversity`` is no dict or has an unknown key.

    Example:
        >>> model = dict(
        ...     type='DiverseEncoderDecoder',
        ...     diversity=dict(early='blocks.0', warmup_iters=1500, patch_mix=dict(prob=0.5)),
        ...     backbone=dict(type='DeepViT', arch='deepvit-s', out_indices=(3, 7, 11, 15)),
        ...     decode_head=dict(type='UPerHead', in_channels=[396] * 4))
    """

    def __init__(self, *args: Any, diversity: Mapping[str, Any], **kwargs: Any) -> None:
        settings = DiversitySettings.parse(diversity)
        super().__init__(*args, **kwargs)
        self.diversity = settings
        self.diversity_loss = DiversityLoss(
            settings.cosine,
            settings.contrastive,
            settings.mixing,
            settings.variant,
            settings.heads,
            settings.temperature,
        )
        self.patch_mix = None if settings.patch_mix is None else PatchMix(**settings.patch_mix)
        for source in self._sources():
            check_source(self.backbone, source)
        if settings.mixing > 0:
            self.patch_head = self._make_patch_head()
        if settings.heads > 0:
            first_layers(self.backbone, settings.head_pairs + 1)  # are there
        self._watch = SaturationWatch(
            "raise diversity.temperature, or set diversity.contrastive=0"
            if settings.variant == "cosine"
            else "set diversity.variant='cosine', or diversity.contrastive=0"
        )

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Losses of the heads and of diversity.

        Args:
            inputs: Normalised images, (B, C, H, W).
            data_samples: One for each image, with ``gt_sem_seg``.

        Returns:
            Those of ``EncoderDecoder``, and ``diversity.loss_cosine``,
            ``diversity.loss_contrastive``, ``diversity.loss_mixing`` and ``diversity.loss_heads``,
            weighted, as far as their weights are not zero.

        Raises:
            ValueError: The backbone does not give the tokens that ``diversity`` names, or early and
                last tokens do not go together.
        """
        if self.patch_mix is not None and self.training:
            inputs, data_samples = self.patch_mix(inputs, data_samples)
        sources = self._sources()
        layers = self._layers()
        if not sources and not layers:
            return super().loss(inputs, data_samples)
        with (
            catch_outputs(self.backbone, sources) as caught,
            catch_results({layer: layer.split_heads for layer in layers}) as maps,
        ):
            losses = super().loss(inputs, data_samples)
        arguments = self._token_arguments(caught, inputs, data_samples) if sources else {}
        diversity = self.diversity_loss(**arguments, layers=list(maps.items()))
        self._check_effect(diversity)
        factor = self._warmup_factor()
        losses.update({f"diversity.{name}": factor * loss for name, loss in diversity.items()})
        return losses

    def _sources(self) -> list[int | str]:
        """Where tokens are taken: last, and before it early where a loss wants it."""
        weights = self.diversity_loss.weights
        if weights["contrastive"] > 0:
            return [self.diversity.early, self.diversity.last]
        return [self.diversity.last] if self.diversity_loss.wants_tokens else []

    def _layers(self) -> list[HeadMixingAttention]:
        """Attention layers whose maps a loss wants."""
        if self.diversity.heads == 0:
            return []
        return first_layers(self.backbone, self.diversity.head_pairs + 1)

    def _token_arguments(
        self, caught: dict[str, Any], inputs: Tensor, data_samples: list[SegDataSample]
    ) -> dict[str, Any]:
        """What the losses of tokens are of, by the arguments' names."""
        tokens = [read_tokens(caught, s, inputs, self.backbone) for s in self._sources()]
        early, last = tokens[0], tokens[-1]
        self._check_tokens(early, last)
        logits = targets = None
        if self.diversity.mixing > 0:
            logits = self.patch_head(last.tokens)
            labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples])
            size = (labels.shape[1], labels.shape[2])
            targets = patch_class_mix(
                labels,
                last.grid,
                self.num_classes,
                self.decode_head.ignore_index,
                find_patch_size(self.backbone, last.grid, size),
            )
        return dict(
            last=last.tokens, early=early.tokens, logits=logits, targets=targets, grid=last.grid
        )

    def _check_effect(self, diversity: dict[str, Tensor]) -> None:
        """Tell of a contrastive loss without effect; refuse maps that no gradient reaches."""
        if "loss_contrastive" in diversity:
            self._watch.look(diversity["loss_contrastive"] / self.diversity.contrastive)
        heads = diversity.get("loss_heads")
        if heads is not None and torch.is_grad_enabled() and not heads.requires_grad:
            raise ValueError(
                f"no gradient reaches the first {self.diversity.head_pairs + 1} attention layers: "
                "they are frozen; set diversity.heads=0"
            )

    def _check_tokens(self, early: PatchTokens, last: PatchTokens) -> None:
        names = self.diversity
        one = early.tokens.data_ptr() == last.tokens.data_ptr()
        if one and names.contrastive > 0:
            raise ValueError(
                f"diversity.early={names.early!r} and diversity.last={names.last!r} are one output "
                "of the backbone: set out_indices, name an earlier block, or set contrastive=0"
            )
        widths = early.tokens.shape[-1], last.tokens.shape[-1]
        if widths[0] != widths[1] or early.grid != last.grid:
            pair = sibling_blocks(self.backbone)
            example = f" (early={pair[0]!r}, last={pair[1]!r})" if pair else ""
            raise ValueError(
                f"diversity.early={names.early!r} has {widths[0]} channels on {early.grid} patches "
                f"and diversity.last={names.last!r} {widths[1]} on {last.grid}: name modules of "
                f"one stage{example}, or set contrastive=0"
            )
        if torch.is_grad_enabled() and not last.tokens.requires_grad:
            raise ValueError(
                f"no gradient reaches diversity.last={names.last!r}: it is frozen, or inside a "
                "block that with_cp recomputes; name a whole block that is trained"
            )
        if names.mixing > 0 and widths[1] != self.patch_head.in_features:
            raise ValueError(
                f"diversity.last={names.last!r} has {widths[1]} channels and patch_head takes "
                f"{self.patch_head.in_features}: set diversity.mixing_channels={widths[1]}"
            )

    def _make_patch_head(self) -> nn.Linear:
        channels = self.diversity.mixing_channels
        if channels is None:
            channels = find_width(self.backbone, self.diversity.last)
        if channels is None:
            raise ValueError(
                f"{type(self.backbone).__name__} does not tell the width of diversity.last="
                f"{self.diversity.last!r}: set diversity.mixing_channels, or mixing=0"
            )
        head = nn.Linear(channels, self.num_classes)
        nn.init.trunc_normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)
        return head

    def _warmup_factor(self) -> float:
        """Part of the weights that is in force: 1 without warm-up, or without a runner."""
        warmup_iters = self.diversity.warmup_iters
        if warmup_iters == 0:
            return 1.0
        iteration = MessageHub.get_current_instance().get_info("iter", warmup_iters)
        return min(iteration / warmup_iters, 1.0)
