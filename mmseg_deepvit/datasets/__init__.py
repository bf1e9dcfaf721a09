"""Datasets for MMSegmentation; importing this registers them."""

from .isic2018 import ISIC2018Dataset

__all__ = ["ISIC2018Dataset"]
