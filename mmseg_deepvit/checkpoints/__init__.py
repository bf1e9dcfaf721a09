"""Checkpoint files: safe reading, names of published families, whether they fit a model."""

from .fit import check_same_model, segmentor_state_dict
from .key_maps import DEEPVIT, rename_keys, summarize_keys
from .loading import find_state_dict, read_checkpoint

__all__ = [
    "DEEPVIT",
    "check_same_model",
    "find_state_dict",
    "read_checkpoint",
    "rename_keys",
    "segmentor_state_dict",
    "summarize_keys",
]
