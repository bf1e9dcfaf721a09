"""Very deep vision transformers for MMSegmentation 1.x.

Importing this package registers its backbones, segmentors, losses, datasets and hooks in mmseg's
registries, which is what ``custom_imports = dict(imports=['mmseg_deepvit'])`` in a config does.
"""

from . import stack as _stack
from .version import __version__

_stack.find_stack()

from . import backbones, datasets, diversity, engine, inference  # noqa: E402  (the stack first)

__all__ = ["__version__", "backbones", "datasets", "diversity", "engine", "inference"]
