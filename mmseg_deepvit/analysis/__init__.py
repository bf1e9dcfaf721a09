"""Look into models: measures of collapse, and pictures; importing this registers the hook."""

from .. import require_stack  # noqa: F401
from .collapse import Collapse, measure_collapse
from .hook import CollapseHook

__all__ = ["Collapse", "CollapseHook", "measure_collapse"]
