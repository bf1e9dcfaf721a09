"""Head-mixing attention: plain attention, Re-attention and talking heads as one primitive."""

from .explicit import explicit_head_mixing_attention
from .module import HeadMixingAttention

__all__ = ["HeadMixingAttention", "explicit_head_mixing_attention"]
