"""Very deep vision transformers for MMSegmentation 1.x.

With MMSegmentation installed, importing this package registers its backbones, segmentors, heads,
losses, datasets, metrics and hooks, which is what
``custom_imports = dict(imports=['mmseg_deepvit'])`` in a config does. Without it nothing is
registered; :mod:`mmseg_deepvit.attention` needs PyTorch alone.
"""

from .quick_help import only_help
from .stack import find_stack, has_stack
from .version import __version__

if has_stack():
    find_stack()  # one that fits, told before its imports fail
    if not only_help():
        from . import (  # noqa: F401
            analysis,
            backbones,
            datasets,
            diversity,
            engine,
            evaluation,
            heads,
            inference,
            weights,
        )

__all__ = ["__version__"]
