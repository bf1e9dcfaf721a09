"""Backbones for MMSegmentation; importing this registers them."""

from .. import require_stack  # noqa: F401
from .cait import CaiT
from .deepvit import DeepViT
from .diverse_patch_vit import DiversePatchViT
from .swin import SwinTransformer
from .warm_start import calibrate_map_norms

__all__ = ["CaiT", "DeepViT", "DiversePatchViT", "SwinTransformer", "calibrate_map_norms"]
