"""Backbones for MMSegmentation; importing this registers them."""

from .cait import CaiT
from .deepvit import DeepViT
from .diverse_patch_vit import DiversePatchViT
from .warm_start import calibrate_map_norms

__all__ = ["CaiT", "DeepViT", "DiversePatchViT", "calibrate_map_norms"]
