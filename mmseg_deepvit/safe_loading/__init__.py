"""Safe and strict loading in the place of mmengine's and mmseg's; importing this changes nothing.

Our configs ask for it (they import :mod:`mmseg_deepvit.safe_loading.installed`), and so do our
tools. Anyone else calls :func:`install`.
"""

from .. import require_stack  # noqa: F401
from .installation import install

__all__ = ["install"]
