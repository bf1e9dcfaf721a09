"""How the images were normalised that weights were trained on: it belongs to the weights.

What a file says of itself goes before what its family tells: our converted files carry it in
``meta``, and what mmengine saves carries its whole config.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .plain_config import read_setting


@dataclass(frozen=True)
class Normalization:
    """Mean and deviation of the channels R, G, B, for pixel values from 0 to 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def agrees(self, other: Normalization) -> bool:
        """Whether the two differ by rounding at most: less than half a grey value."""
        ours, theirs = (*self.mean, *self.std), (*other.mean, *other.std)
        return len(ours) == len(theirs) and all(
            abs(a - b) < 0.5 for a, b in zip(ours, theirs, strict=True)
        )


IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
#: To -1 … 1: DeepViT's, and that of ViTs from google-research.
HALF = Normalization((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))

#: OpenAI's CLIP, and EVA-02.
CLIP = Normalization((122.771, 116.746, 104.094), (68.501, 66.632, 70.323))

_META_KEY = "normalization"


def normalization_meta(normalization: Normalization | None) -> dict[str, Any]:
    """What :func:`saved_normalization` finds again in a file's ``meta``."""
    if normalization is None:
        return {}
    return {_META_KEY: {key: list(value) for key, value in asdict(normalization).items()}}


def saved_normalization(checkpoint: Mapping[str, Any]) -> Normalization | None:
    """The normalisation that a file says it belongs to, or None where it says nothing.

    Args:
        checkpoint: What :func:`~mmseg_deepvit.checkpoints.read_checkpoint` returned.
    """
    meta = checkpoint.get("meta")
    if not isinstance(meta, Mapping):
        return None
    if _META_KEY in meta:
        return normalization_from(meta[_META_KEY])
    model = read_setting(meta.get("cfg"), "model")
    return normalization_from(model.get("data_preprocessor")) if isinstance(model, dict) else None


def normalization_from(settings: Any) -> Normalization | None:
    """Read ``mean`` and ``std`` out of a mapping; None where they are not numbers."""
    if not isinstance(settings, Mapping):
        return None
    mean, std = (settings.get(key) for key in ("mean", "std"))
    for values in (mean, std):
        if not isinstance(values, list | tuple):
            return None
        if not all(isinstance(value, int | float) for value in values):
            return None
    return Normalization(tuple(mean), tuple(std))  # type: ignore[arg-type]
