"""Load weights of any origin into a trunk; after this import configs can name files of weights."""

from .. import require_stack  # noqa: F401
from .pretrained import load_pretrained
from .warm_start import calibrate_map_norms

__all__ = ["calibrate_map_norms", "load_pretrained"]
