"""Datasets for MMSegmentation; importing this registers them."""

from .. import require_stack  # noqa: F401
from .bands import LoadBands
from .camvid import CamVidDataset
from .cityscapes import CityscapesLabelIdsDataset
from .folders import FolderDataset
from .isic2018 import ISIC2018Dataset
from .transforms import LoadAnnotations, LoadImageFromFile

__all__ = [
    "CamVidDataset",
    "CityscapesLabelIdsDataset",
    "FolderDataset",
    "ISIC2018Dataset",
    "LoadAnnotations",
    "LoadBands",
    "LoadImageFromFile",
]
