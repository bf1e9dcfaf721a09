"""Backbones for MMSegmentation; importing this registers them."""

from .cait import CaiT
from .deepvit import DeepViT
from .diverse_patch_vit import DiversePatchViT

__all__ = ["CaiT", "DeepViT", "DiversePatchViT"]
