"""Checkpoint files: safe reading, published families and their names, comparison with a model."""

from .checkpoint import Checkpoint
from .compatibility import load_whole_model
from .conversion import Conversion, convert
from .key_maps import summarize_keys
from .loading import TRUST_VARIABLE, read_checkpoint
from .mmengine_loading import load_from_path
from .normalization import Normalization, normalization_meta, saved_normalization
from .published_families import FAMILIES, Family, find_family, get_family
from .safetensors_files import save_safetensors
from .segmentors import convert_checkpoint, read_backbone, segmentor_state_dict
from .timm_hub import TIMM_SCHEME, fetch_timm
from .timm_trunks import trunk_arguments

__all__ = [
    "FAMILIES",
    "TIMM_SCHEME",
    "TRUST_VARIABLE",
    "Checkpoint",
    "Conversion",
    "Family",
    "Normalization",
    "convert",
    "convert_checkpoint",
    "fetch_timm",
    "find_family",
    "get_family",
    "load_from_path",
    "load_whole_model",
    "normalization_meta",
    "read_backbone",
    "read_checkpoint",
    "save_safetensors",
    "saved_normalization",
    "segmentor_state_dict",
    "summarize_keys",
    "trunk_arguments",
]
