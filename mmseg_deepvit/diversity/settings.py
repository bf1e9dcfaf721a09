"""The ``diversity`` argument of the segmentor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .losses import Variant

#: One of a backbone's outputs by its index, or one of its submodules by its dotted name.
Source = int | str


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
        variant: Form of the contrastive loss, ``'paper'`` or ``'published_code'``.
        warmup_iters: The weights rise linearly from zero within so many iterations.
        mixing_channels: Width of the last tokens, where the segmentor cannot tell it.
        patch_mix: Arguments of :class:`~mmseg_deepvit.diversity.patch_mix.PatchMix`, or None for
            no mixing of images.
    """

    early: Source = 0
    last: Source = -1
    cosine: float = 1.0
    contrastive: float = 1.0
    mixing: float = 1.0
    variant: Variant = "paper"
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
        if not isinstance(self.warmup_iters, int) or self.warmup_iters < 0:
            raise ValueError(
                "diversity.warmup_iters must be an integer of at least 0, got "
                f"{self.warmup_iters!r}"
            )

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> DiversitySettings:
        """Read a config's dict.

        Raises:
            TypeError: No dict, or a key that there is not.
            ValueError: ``warmup_iters`` is below 0 or no integer.
        """
        if not isinstance(settings, Mapping):
            raise TypeError(f"diversity must be a dict, got {settings!r}")
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise TypeError(f"diversity has no {name!r}: it takes {', '.join(known)}")
        return cls(**settings)
