"""Backbones for MMSegmentation; importing this registers them."""

from .deepvit import DeepViT

__all__ = ["DeepViT"]
