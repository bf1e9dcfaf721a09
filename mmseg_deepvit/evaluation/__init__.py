"""Metrics for MMSegmentation; importing this registers them."""

from .. import require_stack  # noqa: F401
from .cityscapes import CityscapesIoUMetric
from .confusion import ConfusionMetric
from .per_image import PerImageMetric

__all__ = ["CityscapesIoUMetric", "ConfusionMetric", "PerImageMetric"]
