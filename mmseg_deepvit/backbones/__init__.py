"""Backbones for MMSegmentation; importing this registers them."""

from .. import require_stack  # noqa: F401
from .cait import CaiT
from .deepvit import DeepViT
from .diverse_patch_vit import DiversePatchViT
from .plain_vit import PlainViT
from .swin import SwinTransformer

__all__ = ["CaiT", "DeepViT", "DiversePatchViT", "PlainViT", "SwinTransformer"]
