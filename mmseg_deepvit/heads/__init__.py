"""Decode heads for MMSegmentation; importing this registers them."""

from .. import require_stack  # noqa: F401
from .linear_probe import LinearProbeHead

__all__ = ["LinearProbeHead"]
