"""Head-mixing attention: plain attention, Re-attention and talking heads as one primitive."""

from .blockwise import blockwise_head_mixing_attention
from .explicit import AttentionMaps, explicit_attention_maps, explicit_head_mixing_attention
from .functional import BACKENDS, Backend, head_mixing_attention, observe_maps
from .module import HeadMixingAttention

__all__ = [
    "BACKENDS",
    "AttentionMaps",
    "Backend",
    "HeadMixingAttention",
    "blockwise_head_mixing_attention",
    "explicit_attention_maps",
    "explicit_head_mixing_attention",
    "head_mixing_attention",
    "observe_maps",
]
