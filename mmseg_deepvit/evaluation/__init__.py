"""Metrics for MMSegmentation; importing this registers them."""

from .cityscapes import CityscapesIoUMetric
from .per_image import PerImageMetric

__all__ = ["CityscapesIoUMetric", "PerImageMetric"]
