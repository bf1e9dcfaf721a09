"""A segmentor whose training adds the diversity losses.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753, section 4;
the heads term: DeepViT, https://arxiv.org/abs/2103.11886.
Reference: mmsegmentation ``mmseg/models/segmentors/encoder_decoder.py``, which it extends.
Deviations: the published code has these losses only for classifiers, with weights mixing 1,
contrastive 1 and cosine 0 (:mod:`mmseg_deepvit.diversity.classification`); its segmentation is
plain fine-tuning. This is the dense form: PatchMix mixes label maps, and the target of each token
in the mixing loss is the shares of classes in its patch. Pooled regions of an image with several
classes have no single label. The contrastive loss compares tokens of equal width and grid, so of
one stage if stages differ, as in Swin.
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
from ..tokens.patch_tokens import PatchTokens, catch_outputs, read_tokens
from .class_mix import patch_class_mix
from .head_cosine import first_layers
from .patch_mix import PatchMix
from .saturation import SaturationWatch
from .settings import DiversitySettings


@MODELS.register_module()
class DiverseEncoderDecoder(SlidingEncoderDecoder):
    """``EncoderDecoder`` whose training adds the diversity losses, and may mix images by patches.

    Prediction is ``SlidingEncoderDecoder``'s. With all weights zero and no ``patch_mix``, training
    is ``EncoderDecoder``'s. The mixing loss has a linear ``patch_head`` on the last tokens; it
    reads their width from the backbone or from ``diversity.mixing_channels``. The warm-up follows
    the runner's iteration, also in a resumed training. One warning tells of a contrastive loss
    without effect, which is zero in all logged digits.

    Args:
        *args: Arguments of ``EncoderDecoder``.
        diversity: Attributes of :class:`~mmseg_deepvit.diversity.settings.DiversitySettings`. An
            empty dict is the paper's form: all weights 1, first and last of the backbone's outputs,
            taken before the neck.
        **kwargs: Arguments of ``EncoderDecoder``.

    Raises:
        ValueError: ``diversity`` has an invalid value, a submodule is missing, a width is unknown,
            or the backbone has no attention layers for ``heads``.
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
        self.diversity_loss = settings.build_loss()
        self.patch_mix = None if settings.patch_mix is None else PatchMix(**settings.patch_mix)
        for source in self._sources():
            check_source(self.backbone, source)
        if settings.mixing > 0:
            self.patch_head = self._make_patch_head()
        if settings.heads > 0:
            first_layers(self.backbone, settings.head_pairs + 1)  # raises if they are missing
        self._watch = SaturationWatch(
            "raise diversity.temperature, or set diversity.contrastive=0"
            if settings.variant == "cosine"
            else "set diversity.variant='cosine', or diversity.contrastive=0"
        )

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Compute the losses of the heads and of diversity.

        Args:
            inputs: Normalised images, (B, C, H, W).
            data_samples: Samples of the images with ``gt_sem_seg``.

        Returns:
            Losses of ``EncoderDecoder``, and the weighted ``diversity.loss_cosine``,
            ``diversity.loss_contrastive``, ``diversity.loss_mixing`` and ``diversity.loss_heads``
            whose weights are not zero.

        Raises:
            ValueError: The backbone does not give the tokens that ``diversity`` names, or the sizes
                of early and last tokens differ.
        """
        if self.patch_mix is not None and self.training:
            inputs, data_samples = self.patch_mix(inputs, data_samples)
        sources = self._sources()
        layers = self._layers()
        losses: dict[str, Tensor]
        with (
            catch_outputs(self.backbone, sources) as caught,
            catch_results({layer: layer.split_heads for layer in layers}) as maps,
        ):
            losses = super().loss(inputs, data_samples)
        if not sources and not layers:
            return losses
        arguments = self._token_arguments(caught, inputs, data_samples) if sources else {}
        diversity = self.diversity_loss(**arguments, layers=list(maps.items()))
        self._check_effect(diversity)
        factor = self._warmup_factor()
        losses.update({f"diversity.{name}": factor * loss for name, loss in diversity.items()})
        return losses

    def _sources(self) -> list[int | str]:
        """Sources of the tokens: last, or early and last for the contrastive loss."""
        weights = self.diversity_loss.weights
        if weights["contrastive"] > 0:
            return [self.diversity.early, self.diversity.last]
        return [self.diversity.last] if self.diversity_loss.wants_tokens else []

    def _layers(self) -> list[HeadMixingAttention]:
        """Attention layers whose maps a loss needs."""
        if self.diversity.heads == 0:
            return []
        return first_layers(self.backbone, self.diversity.head_pairs + 1)

    def _token_arguments(
        self, caught: dict[str, Any], inputs: Tensor, data_samples: list[SegDataSample]
    ) -> dict[str, Any]:
        """Arguments of the losses of tokens, by name."""
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
        """Warn of a contrastive loss without effect; refuse maps without gradient."""
        if "loss_contrastive" in diversity:
            self._watch.look(diversity["loss_contrastive"] / self.diversity.contrastive)
        heads = diversity.get("loss_heads")
        if heads is not None and torch.is_grad_enabled() and not heads.requires_grad:
            raise ValueError(
                f"the first {self.diversity.head_pairs + 1} attention layers are frozen and get "
                "no gradient; set diversity.heads=0"
            )

    def _check_tokens(self, early: PatchTokens, last: PatchTokens) -> None:
        names = self.diversity
        same = early.tokens.data_ptr() == last.tokens.data_ptr()
        if same and names.contrastive > 0:
            raise ValueError(
                f"diversity.early={names.early!r} and diversity.last={names.last!r} are one output "
                "of the backbone; set out_indices, name an earlier block, or set contrastive=0"
            )
        widths = early.tokens.shape[-1], last.tokens.shape[-1]
        if widths[0] != widths[1] or early.grid != last.grid:
            pair = sibling_blocks(self.backbone)
            example = f" (early={pair[0]!r}, last={pair[1]!r})" if pair else ""
            raise ValueError(
                f"diversity.early={names.early!r} has {widths[0]} channels on {early.grid} patches "
                f"and diversity.last={names.last!r} {widths[1]} on {last.grid}; name modules of "
                f"one stage{example}, or set contrastive=0"
            )
        if torch.is_grad_enabled() and not last.tokens.requires_grad:
            raise ValueError(
                f"diversity.last={names.last!r} gets no gradient: it is frozen, or lies inside a "
                "block that with_cp recomputes; name a full block that is trained"
            )
        if names.mixing > 0 and widths[1] != self.patch_head.in_features:
            raise ValueError(
                f"diversity.last={names.last!r} has {widths[1]} channels and patch_head takes "
                f"{self.patch_head.in_features}; set diversity.mixing_channels={widths[1]}"
            )

    def _make_patch_head(self) -> nn.Linear:
        channels = self.diversity.mixing_channels
        if channels is None:
            channels = find_width(self.backbone, self.diversity.last)
        if channels is None:
            raise ValueError(
                f"{type(self.backbone).__name__} does not tell the width of diversity.last="
                f"{self.diversity.last!r}; set diversity.mixing_channels, or mixing=0"
            )
        head = nn.Linear(channels, self.num_classes)
        nn.init.trunc_normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)
        return head

    def _warmup_factor(self) -> float:
        """Factor of the weights at this iteration: 1 without warm-up, or without a runner."""
        warmup_iters = self.diversity.warmup_iters
        if warmup_iters == 0:
            return 1.0
        iteration: int = MessageHub.get_current_instance().get_info("iter", warmup_iters)
        return min(iteration / warmup_iters, 1.0)
