"""Cityscapes as published; loading maps label ids to the 19 classes that count.

Paper: The Cityscapes Dataset for Semantic Urban Scene Understanding,
https://arxiv.org/abs/1604.01685.
Reference: mcordts/cityscapesScripts, ``helpers/labels.py`` (the table of ids and train ids).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS

from .paired import PairedDataset
from .pairs import list_stems

#: Label id of each class that counts, in the order of the train ids 0 to 18.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
#: Train id of each label id, 0 to 33. The licence plate's id, -1, is 255 in 8 bits and stays 255.
TRAIN_IDS: Mapping[int, int] = MappingProxyType(
    {i: LABEL_IDS.index(i) if i in LABEL_IDS else 255 for i in range(34)}
)

_TRAIN_ID_SUFFIX = "_gtFine_labelTrainIds.png"
_ID_SUFFIX = "_gtFine_labelIds.png"


@DATASETS.register_module()
class CityscapesLabelIdsDataset(PairedDataset, CityscapesDataset):
    """Street scenes with 19 classes, read from ``leftImg8bit`` and ``gtFine`` as unzipped.

    Files need no conversion: loading maps the labels of ``*_gtFine_labelIds.png``. If every image
    has a ``*_gtFine_labelTrainIds.png``, those files are read instead. If only some images have
    one, after an interrupted conversion, label ids are read for all.

    Args:
        seg_map_suffix: Ending of all mask files; None chooses as above. Files that end in
            ``labelIds.png`` (``_gtCoarse_labelIds.png``) are mapped, others hold train ids.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset`. In ``test_mode`` the folder
            may hold no mask at all.

    Raises:
        UserError: A folder is missing or holds no image, or an image has no mask.
    """

    def __init__(self, seg_map_suffix: str | None = None, **kwargs: Any) -> None:
        self._suffix_given = seg_map_suffix
        super().__init__(seg_map_suffix=seg_map_suffix or _ID_SUFFIX, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """List every image with its mask's path and the map from the mask's labels to classes."""
        data_list: list[dict[str, Any]] = super().load_data_list()
        label_map: Mapping[int, int] | None = self.label_map
        if self.seg_map_suffix.endswith("labelIds.png"):
            label_map = {i: (label_map or {}).get(train, train) for i, train in TRAIN_IDS.items()}
        for info in data_list:
            info["label_map"] = label_map
        return data_list

    def list_masks(self) -> list[str] | None:
        """Choose the masks' ending, and list their names without it; None if a test has none."""
        if self._suffix_given is not None:
            return super().list_masks()
        images = list_stems(self.data_prefix["img_path"], self.img_suffix, self.backend_args)
        self.seg_map_suffix = _TRAIN_ID_SUFFIX
        masks = super().list_masks()
        if masks is None or not images or not set(images) <= set(masks):
            self.seg_map_suffix = _ID_SUFFIX
            masks = super().list_masks()
        return masks
