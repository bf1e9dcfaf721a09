"""Very deep vision transformers for MMSegmentation 1.x.

Importing this package registers its backbones, segmentors, losses, datasets, hooks and metrics in
mmseg's registries: ``custom_imports = dict(imports=['mmseg_deepvit'])`` in a config does that.
"""

from . import stack as _stack
from .version import __version__

_stack.find_stack()

from . import backbones, datasets, diversity, engine, evaluation  # noqa: E402  (the stack first)

__all__ = ["__version__", "backbones", "datasets", "diversity", "engine", "evaluation"]
