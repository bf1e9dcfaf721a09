"""Checkpoint files: safe reading, names of published families, whether they fit a model."""

from .families import FAMILIES, Conversion, Family, convert, find_family, get_family
from .fit import check_same_model, segmentor_state_dict
from .key_maps import DEEPVIT, rename_keys, summarize_keys
from .loading import find_state_dict, read_checkpoint

__all__ = [
    "DEEPVIT",
    "FAMILIES",
    "Conversion",
    "Family",
    "check_same_model",
    "convert",
    "find_family",
    "find_state_dict",
    "get_family",
    "read_checkpoint",
    "rename_keys",
    "segmentor_state_dict",
    "summarize_keys",
]
