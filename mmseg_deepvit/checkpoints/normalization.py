"""Normalisation of the training images, which belongs to the weights.

A file's own word goes before its family's: our converted files carry the normalisation in ``meta``,
and mmengine's checkpoints carry their config.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .checkpoint import Checkpoint
from .config_literals import read_setting


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
#: Maps pixels to -1 … 1; used by DeepViT and by google-research's ViTs.
HALF = Normalization((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))

#: Used by OpenAI's CLIP and by EVA-02.
CLIP = Normalization((122.771, 116.746, 104.094), (68.501, 66.632, 70.323))
#: Used by the DINOv3 that was trained on satellite images.
SATELLITE = Normalization((109.65, 104.805, 75.48), (54.315, 39.78, 36.465))

_META_KEY = "normalization"


def normalization_meta(normalization: Normalization | None) -> dict[str, Any]:
    """Entry of a file's ``meta`` that :func:`saved_normalization` reads."""
    if normalization is None:
        return {}
    return {_META_KEY: {key: list(value) for key, value in asdict(normalization).items()}}


def saved_normalization(checkpoint: Checkpoint) -> Normalization | None:
    """The normalisation that a file tells, or None."""
    if _META_KEY in checkpoint.meta:
        return normalization_from(checkpoint.meta[_META_KEY])
    model = read_setting(checkpoint.meta.get("cfg"), "model")
    return normalization_from(model.get("data_preprocessor")) if isinstance(model, dict) else None


def normalization_from(settings: Any) -> Normalization | None:
    """Read ``mean`` and ``std`` from a mapping; None where they are not numbers."""
    if not isinstance(settings, Mapping):
        return None
    mean, std = (settings.get(key) for key in ("mean", "std"))
    if not (isinstance(mean, list | tuple) and isinstance(std, list | tuple)):
        return None
    if not all(isinstance(value, int | float) for value in (*mean, *std)):
        return None
    return Normalization(tuple(mean), tuple(std))
