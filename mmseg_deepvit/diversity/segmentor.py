"""A segmentor that keeps the patch tokens of its backbone different while it trains.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753, section 4.
Reference: mmsegmentation ``mmseg/models/segmentors/encoder_decoder.py``, which it extends.
Deviations: the dense form: the mixing loss asks each token for the classes of its own patch of the
label map. The contrastive loss compares tokens of one width and grid, hence of one stage where
stages differ, as in Swin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..inference import SlidingEncoderDecoder
from .backbone_facts import count_prefix_tokens, find_patch_size, find_width
from .class_mix import patch_class_mix
from .losses import DiversityLoss
from .patch_mix import PatchMix
from .settings import DiversitySettings
from .taps import PatchTokens, catch_outputs, check_source, read_tokens


@MODELS.register_module()
class DiverseEncoderDecoder(SlidingEncoderDecoder):
    """``EncoderDecoder`` whose training adds the diversity losses, and may mix images by patches.

    Prediction is ``SlidingEncoderDecoder``'s: ``EncoderDecoder``'s, windows in batches. With all
    three weights zero and no ``patch_mix`` training is ``EncoderDecoder``'s too. A mixing loss has
    a linear ``patch_head`` of its own on the last tokens. Weights of a warm-up follow the runner's
    iteration, also when a training is resumed.

    Args:
        *args: As ``EncoderDecoder``.
        diversity: Attributes of :class:`~mmseg_deepvit.diversity.settings.DiversitySettings`; an
            empty dict is the paper's: all weights 1, first and last of the backbone's outputs,
            taken before the neck.
        **kwargs: As ``EncoderDecoder``.

    Raises:
        ValueError: A value that ``diversity`` does not take, a submodule that is not there, or a
            width that cannot be told.
        TypeError: ``diversity`` is no dict or has an unknown key.

    Example:
        >>> model = dict(
        ...     type='DiverseEncoderDecoder',
        ...     diversity=dict(early='blocks.0', warmup_iters=1500, patch_mix=dict(prob=0.5)),
        ...     backbone=dict(type='DeepViT', arch='deepvit-s', out_indices=(3, 7, 11, 15)), ...)
    """

    def __init__(self, *args: Any, diversity: Mapping[str, Any], **kwargs: Any) -> None:
        settings = DiversitySettings.parse(diversity)
        super().__init__(*args, **kwargs)
        self.diversity = settings
        self.diversity_loss = DiversityLoss(
            settings.cosine, settings.contrastive, settings.mixing, settings.variant
        )
        self.patch_mix = None if settings.patch_mix is None else PatchMix(**settings.patch_mix)
        for source in self._sources():
            check_source(self.backbone, source)
        if settings.mixing > 0:
            self.patch_head = self._make_patch_head()

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Losses of the heads and of diversity.

        Args:
            inputs: Normalised images, (B, C, H, W).
            data_samples: One for each image, with ``gt_sem_seg``.

        Returns:
            Those of ``EncoderDecoder``, and ``diversity.loss_cosine``,
            ``diversity.loss_contrastive`` and ``diversity.loss_mixing``, weighted, as far as their
            weights are not zero.

        Raises:
            ValueError: The backbone does not give the tokens that ``diversity`` names, or early and
                last tokens do not go together.
        """
        if self.patch_mix is not None and self.training:
            inputs, data_samples = self.patch_mix(inputs, data_samples)
        sources = self._sources()
        if not sources:
            return super().loss(inputs, data_samples)
        with catch_outputs(self.backbone, sources) as caught:
            losses = super().loss(inputs, data_samples)
        num_prefix = count_prefix_tokens(self.backbone)
        tokens = [read_tokens(caught, source, inputs, num_prefix) for source in sources]
        diversity = self._diversity_losses(tokens[0], tokens[-1], data_samples)
        factor = self._warmup_factor()
        losses.update({f"diversity.{name}": factor * loss for name, loss in diversity.items()})
        return losses

    def _sources(self) -> list[int | str]:
        """Where tokens are taken: last, and before it early where a loss wants it."""
        weights = self.diversity_loss.weights
        if weights["contrastive"] > 0:
            return [self.diversity.early, self.diversity.last]
        return [self.diversity.last] if any(weights.values()) else []

    def _diversity_losses(
        self, early: PatchTokens, last: PatchTokens, data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
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
        return self.diversity_loss(last.tokens, early.tokens, logits, targets, last.grid)

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
            raise ValueError(
                f"diversity.early={names.early!r} has {widths[0]} channels on {early.grid} patches "
                f"and diversity.last={names.last!r} {widths[1]} on {last.grid}: name modules of "
                "one stage (early='stages.3.blocks.0', last='stages.3.blocks.1'), or set "
                "contrastive=0"
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
