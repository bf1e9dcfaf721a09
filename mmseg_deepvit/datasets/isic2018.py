"""ISIC 2018 Task 1: skin lesions in dermoscopy images, read from the folders as published.

Paper: Skin Lesion Analysis Toward Melanoma Detection 2018, https://arxiv.org/abs/1902.03368.
Deviations: the published masks are 0 and 255; 255 is mmseg's ignore index, so it becomes class 1 on
loading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS


@DATASETS.register_module()
class ISIC2018Dataset(BaseSegDataset):
    """Dermoscopy images with a lesion mask each.

    Images are ``ISIC_*.jpg``; the mask of ``ISIC_x.jpg`` is ``ISIC_x_segmentation.png`` with the
    values 0 (background) and 255 (lesion), or 0 and 1. The folders are given by ``data_prefix``.

    Args:
        img_suffix: Ending of image files.
        seg_map_suffix: What stands in a mask's name in place of the image's ending.
        **kwargs: As :class:`mmseg.datasets.BaseSegDataset` takes them.
    """

    METAINFO = dict(classes=("background", "lesion"), palette=[[0, 0, 0], [255, 64, 64]])

    def __init__(
        self,
        img_suffix: str = ".jpg",
        seg_map_suffix: str = "_segmentation.png",
        **kwargs: Any,
    ) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """Labels as they stand in the files, mapped to classes."""
        return {255: 1}
