"""Training on one's own images: look at a folder, and write a config for it."""

from .. import require_stack  # noqa: F401
from .making import HEADS, SAMPLE, new_config
from .start import BACKBONES, NORMALIZATIONS
from .summary import NewConfig

__all__ = ["BACKBONES", "HEADS", "NORMALIZATIONS", "SAMPLE", "NewConfig", "new_config"]
