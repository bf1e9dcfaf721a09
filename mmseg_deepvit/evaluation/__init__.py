"""Metrics for MMSegmentation; importing this registers them."""

from .per_image import PerImageMetric

__all__ = ["PerImageMetric"]
