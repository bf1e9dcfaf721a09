"""Safe and strict loading in place of mmengine's and mmseg's; importing this room changes nothing.

Our configs ask for it by importing :mod:`mmseg_deepvit.safe_loading.installed`, and so do our
tools. Other code calls :func:`install`.
"""

from .. import require_stack  # noqa: F401, I001  (before mmseg)

from mmseg.registry import MODELS, TRANSFORMS

from ..backbones import SwinTransformer
from ..checkpoints.mmengine_loading import replace_loaders
from ..datasets import LoadAnnotations, LoadImageFromFile

__all__ = ["install"]


def install() -> None:
    """Replace the loading of files in mmengine and mmseg, for all of this process.

    * Checkpoints are read without running code from them
      (:mod:`mmseg_deepvit.checkpoints.mmengine_loading`).
    * ``LoadImageFromFile`` and ``LoadAnnotations`` refuse damaged files
      (:mod:`mmseg_deepvit.datasets.transforms`).
    * ``SwinTransformer`` takes published weights under any names
      (:mod:`mmseg_deepvit.backbones.swin`).

    Configs keep their names. A second call changes nothing.
    """
    replace_loaders()
    for transform in (LoadImageFromFile, LoadAnnotations):
        TRANSFORMS.register_module(module=transform, force=True)
    MODELS.register_module(module=SwinTransformer, force=True)
