"""Parts of the training runner; importing this registers them."""

from .class_check_hook import ClassCheckHook, unwrap_segmentor

__all__ = ["ClassCheckHook", "unwrap_segmentor"]
