"""Settings of the diversity losses, and the ``diversity`` argument of the segmentor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..tokens.backbone_facts import Source
from .losses import TEMPERATURE, DiversityLoss, Variant


@dataclass(frozen=True)
class LossSettings:
    """Weights and forms of the diversity losses; a term of weight zero is not computed.

    Attributes:
        cosine: Weight of the cosine loss, at least 0.
        contrastive: Weight of the contrastive loss, at least 0.
        mixing: Weight of the mixing loss, at least 0.
        heads: Weight of the cosine between the heads of consecutive blocks' attention maps, at
            least 0 (0.1 in published DeepViT-32B). It needs a backbone of this package.
        head_pairs: Number of pairs of blocks that ``heads`` compares, from the first on;
            DeepViT-32B compares 2, blocks 0 and 1, and 1 and 2.
        variant: Form of the contrastive loss, ``'paper'``, ``'published_code'`` or ``'cosine'``;
            see :func:`~mmseg_deepvit.diversity.losses.patch_contrastive_loss`.
        temperature: Divisor of the cosines of ``variant='cosine'``, above 0.
    """

    cosine: float = 1.0
    contrastive: float = 1.0
    mixing: float = 1.0
    heads: float = 0.0
    head_pairs: int = 2
    variant: Variant = "paper"
    temperature: float = TEMPERATURE

    def build_loss(self) -> DiversityLoss:
        """Build the weighted losses."""
        weights = self.cosine, self.contrastive, self.mixing
        return DiversityLoss(*weights, self.variant, self.heads, self.temperature)


@dataclass(frozen=True)
class DiversitySettings(LossSettings):
    """Settings of the losses, their tokens, their warm-up and the mixing of images.

    Attributes:
        early: Early tokens: an index into the tuple that the backbone returns (negative counts
            from the end), or the dotted name of a submodule of the backbone, such as
            ``'blocks.0'``, for its result.
        last: Last tokens, named in the same way.
        warmup_iters: Number of iterations in which the weights rise linearly from zero.
        mixing_channels: Width C of the last tokens, the input of the mixing loss's ``patch_head``.
            None reads it from the backbone: this works for the ViTs of this package, mmseg's
            ``VisionTransformer`` and ``SwinTransformer``, and blocks with LayerNorms of one width
            (MiT's). Other backbones, such as ResNet, need it, or ``mixing=0``; an error says so.
        patch_mix: Arguments of :class:`~mmseg_deepvit.diversity.patch_mix.PatchMix`, or None for
            no mixing of images.
    """

    early: Source = 0
    last: Source = -1
    warmup_iters: int = 0
    mixing_channels: int | None = None
    patch_mix: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("early", "last"):
            source = getattr(self, name)
            if isinstance(source, bool) or not isinstance(source, (int, str)) or source == "":
                raise TypeError(
                    f"diversity.{name} must be an index of the backbone's outputs or the name of a "
                    f"submodule, got {source!r}"
                )
        for name, least in (("warmup_iters", 0), ("head_pairs", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"diversity.{name} must be an integer of at least {least}, got {value!r}"
                )

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> DiversitySettings:
        """Read a config's dict.

        Raises:
            TypeError: The argument is no dict, or has an unknown key.
            ValueError: ``warmup_iters`` is no integer from 0 on, or ``head_pairs`` none from 1 on.
        """
        if not isinstance(settings, Mapping):
            raise TypeError(f"diversity must be a dict, got {settings!r}")
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise TypeError(f"diversity has no {name!r}; choose from {', '.join(known)}")
        return cls(**settings)
