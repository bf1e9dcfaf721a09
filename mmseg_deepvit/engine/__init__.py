"""Parts of the training runner; importing this registers them."""

from .class_check_hook import ClassCheckHook, unwrap_segmentor
from .data_errors import check_data_folders, named_data_errors

__all__ = ["ClassCheckHook", "check_data_folders", "named_data_errors", "unwrap_segmentor"]
