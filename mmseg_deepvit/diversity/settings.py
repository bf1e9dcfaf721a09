"""The ``diversity`` argument of the segmentor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..tokens.backbone_facts import Source
from .losses import TEMPERATURE, Variant


@dataclass(frozen=True)
class DiversitySettings:
    """Which tokens are kept different, by which losses, how strongly and from when on.

    Attributes:
        early: Early tokens: an index into the tuple that the backbone returns (negative counts
            from the end), or the dotted name of a submodule of the backbone, such as
            ``'blocks.0'``, whose result is taken.
        last: Last tokens, likewise.
        cosine: Weight of the cosine loss, at least 0.
        contrastive: Weight of the contrastive loss, at least 0.
        mixing: Weight of the mixing loss, at least 0.
        heads: Weight of the cosine between the heads of consecutive blocks' attention maps, at
            least 0 (DeepViT-32B was published with 0.1). It needs a backbone of ours.
        head_pairs: Number of pairs of blocks that are compared so, from the first on; DeepViT-32B's
            is 2, blocks 0 and 1, and 1 and 2.
        variant: Form of the contrastive loss, ``'paper'``, ``'published_code'`` or ``'cosine'``;
            see :func:`~mmseg_deepvit.diversity.losses.patch_contrastive_loss`.
        temperature: Divisor of the cosines of ``variant='cosine'``, above 0.
        warmup_iters: The weights rise linearly from zero within so many iterations.
        mixing_channels: Width C of the last tokens, which the mixing loss's ``patch_head`` takes.
            None reads it from the backbone: right for our ViTs, mmseg's ``VisionTransformer`` and
            ``SwinTransformer``, and blocks with LayerNorms of one width (MiT's). Set it, or
            ``mixing=0``, for others, such as ResNet's stages; the error says when.
        patch_mix: Arguments of :class:`~mmseg_deepvit.diversity.patch_mix.PatchMix`, or None for
            no mixing of images.
    """

    early: Source = 0
    last: Source = -1
    cosine: float = 1.0
    contrastive: float = 1.0
    mixing: float = 1.0
    heads: float = 0.0
    head_pairs: int = 2
    variant: Variant = "paper"
    temperature: float = TEMPERATURE
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
            TypeError: No dict, or a key that there is not.
            ValueError: ``warmup_iters`` is below 0, ``head_pairs`` below 1, or one no integer.
        """
        if not isinstance(settings, Mapping):
            raise TypeError(f"diversity must be a dict, got {settings!r}")
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise TypeError(f"diversity has no {name!r}: it takes {', '.join(known)}")
        return cls(**settings)
