"""Metrics for MMSegmentation; importing this registers them."""

from .. import require_stack  # noqa: F401
from .cityscapes import CityscapesIoUMetric
from .per_image import PerImageMetric

__all__ = ["CityscapesIoUMetric", "PerImageMetric"]
