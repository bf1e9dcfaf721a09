"""Head-mixing attention: plain attention, Re-attention and talking heads in one function."""

from .explicit import AttentionMaps
from .functional import BACKENDS, Backend, head_mixing_attention, observe_maps
from .module import HeadMixingAttention
from .rotation import Rotation, rotate

__all__ = [
    "BACKENDS",
    "AttentionMaps",
    "Backend",
    "HeadMixingAttention",
    "Rotation",
    "head_mixing_attention",
    "observe_maps",
    "rotate",
]
