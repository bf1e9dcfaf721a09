"""Very deep vision transformers for MMSegmentation 1.x.

Importing this package registers its backbones, segmentors, losses, datasets, metrics and hooks in
mmseg's registries, which is what ``custom_imports = dict(imports=['mmseg_deepvit'])`` in a config
does.
"""

from . import stack as _stack
from .quick_help import only_help as _only_help
from .version import __version__

_stack.find_stack()

if not _only_help():  # and the stack was looked at first
    from . import analysis, backbones, datasets, diversity, engine, evaluation, inference

__all__ = [
    "__version__",
    "analysis",
    "backbones",
    "datasets",
    "diversity",
    "engine",
    "evaluation",
    "inference",
]
