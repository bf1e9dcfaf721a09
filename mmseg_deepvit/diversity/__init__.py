"""Losses and image mixing that keep patch tokens different; importing registers them in mmseg."""

from .. import require_stack  # noqa: F401
from .class_mix import patch_class_mix
from .head_cosine import head_cosine_loss
from .losses import (
    DiversityLoss,
    patch_contrastive_loss,
    patch_cosine_loss,
    patch_mixing_loss,
    pool_regions,
    region_mixing_loss,
)
from .patch_mix import PatchMix
from .segmentor import DiverseEncoderDecoder

__all__ = [
    "DiverseEncoderDecoder",
    "DiversityLoss",
    "PatchMix",
    "head_cosine_loss",
    "patch_class_mix",
    "patch_contrastive_loss",
    "patch_cosine_loss",
    "patch_mixing_loss",
    "pool_regions",
    "region_mixing_loss",
]
