"""Datasets for MMSegmentation; importing this registers them."""

from .cityscapes import CityscapesLabelIdsDataset
from .cityscapes_metric import CityscapesIoUMetric
from .isic2018 import ISIC2018Dataset

__all__ = ["CityscapesIoUMetric", "CityscapesLabelIdsDataset", "ISIC2018Dataset"]
