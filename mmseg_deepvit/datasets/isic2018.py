"""ISIC 2018 Task 1: skin lesions in dermoscopy images, read from the folders as published.

Paper: Skin Lesion Analysis Toward Melanoma Detection 2018, https://arxiv.org/abs/1902.03368.
Deviations: published masks hold 0 and 255. Loading turns 255, mmseg's ignore index, into class 1.
"""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..errors import UserError
from .damage import NO_CLASS, data_error
from .pairs import list_masks, list_stems, name_some, refuse_unpaired, without_partner
from .pipeline import cache_loading, check_annotations, drop_annotations
from .subsets import Fold, read_split

PARTS = ("Training", "Validation", "Test")


@DATASETS.register_module()
class ISIC2018Dataset(BaseSegDataset):
    """Dermoscopy images with a lesion mask each.

    Images are ``ISIC_*.jpg``. The mask of ``ISIC_x.jpg`` is ``ISIC_x_segmentation.png``, one
    channel with the values 0 (background) and 255 (lesion), or 0 and 1. Other files in the folders
    (licence, superpixels) do not count. Every image needs its mask and every mask its image; in
    ``test_mode`` the folder may hold no mask at all.

    Args:
        img_suffix: Ending of image files.
        seg_map_suffix: Ending of mask files, instead of the image's ending.
        part: ``'Training'``, ``'Validation'`` or ``'Test'``: folders of ``data_root`` with their
            published names, instead of ``data_prefix``.
        split: Text file, below ``data_root`` or a full path, that names the images to use, one a
            line, with or without ending; the same as mmseg's ``ann_file``.
        fold: Number of the held-out fold, of ``num_folds`` seeded folds; None for no folds.
        num_folds: Number of folds.
        fold_part: ``'train'`` for all but the fold, ``'val'`` for the fold.
        fold_seed: Seed of the division into folds.
        cache_images: Whether loaded images and masks stay in memory, resized if ``Resize`` follows
            loading at once.
        cache_limit: Limit of the kept bytes, for this data set in this process and its workers.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset`.

    Raises:
        ValueError: An argument has another value, or two contradict each other.
        UserError: A folder or the split file is missing, a file has no partner, or a name is
            unknown; while loading: a mask holds other values.
    """

    METAINFO = dict(classes=("background", "lesion"), palette=[[0, 0, 0], [255, 64, 64]])

    def __init__(
        self,
        img_suffix: str = ".jpg",
        seg_map_suffix: str = "_segmentation.png",
        part: str | None = None,
        split: str | None = None,
        fold: int | None = None,
        num_folds: int = 5,
        fold_part: str | None = None,
        fold_seed: int = 0,
        cache_images: bool = False,
        cache_limit: int = 4 * 2**30,
        **kwargs: Any,
    ) -> None:
        if part is not None:
            kwargs["data_prefix"] = _published_folders(part, kwargs.get("data_prefix"))
        if split is not None:
            if kwargs.get("ann_file"):
                raise ValueError("split and ann_file are the same; give one of them")
            kwargs["ann_file"] = split
        if kwargs.get("reduce_zero_label"):
            raise ValueError("reduce_zero_label would ignore the background; leave it False")
        if fold is None and fold_part is not None:
            raise ValueError(f"fold_part={fold_part!r} needs fold; give 0 to {num_folds - 1}")
        self.fold = None if fold is None else Fold(fold, num_folds, str(fold_part), fold_seed)
        self.cache_images = cache_images
        self.cache_limit = cache_limit
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """Map labels in the files to classes."""
        classes = cls.METAINFO["classes"]
        if new_classes is not None and tuple(new_classes) != classes:
            raise ValueError(f"classes must be {classes}, in this order, got {new_classes}")
        return {255: 1}

    def load_data_list(self) -> list[dict[str, Any]]:
        """List every chosen image with its mask's path, even of a missing mask."""
        images, masks = self._list_files()
        data_list = []
        for stem in self._choose(images):
            info = dict(
                img_path=osp.join(self.data_prefix["img_path"], stem + self.img_suffix),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            if masks is not None:
                name = stem + self.seg_map_suffix
                info["seg_map_path"] = osp.join(self.data_prefix["seg_map_path"], name)
            data_list.append(info)
        return data_list

    def full_init(self) -> None:
        """List the pairs, refuse files without a partner, and adapt the pipeline."""
        if self._fully_initialized:
            return
        images, masks = self._list_files()
        if masks is None:
            drop_annotations(self.pipeline)
        else:
            missing, _ = without_partner(self._choose(images), masks)
            _, extra = without_partner(images, masks)
            refuse_unpaired(missing, extra, self.data_prefix)
            check_annotations(self.pipeline, check_mask)
        super().full_init()
        if self.cache_images:
            paths = [self.get_data_info(i)["img_path"] for i in range(len(self))]
            cache_loading(self.pipeline, paths, self.cache_limit, fixed=[check_mask])

    def _list_files(self) -> tuple[list[str], list[str] | None]:
        """List the names of images, and of masks; None if a test has no masks."""
        folder = self.data_prefix["img_path"]
        images = list_stems(folder, self.img_suffix, self.backend_args)
        if not images:
            raise UserError(
                f"{folder} holds no images *{self.img_suffix}; check data_root, part and img_suffix"
            )
        return images, list_masks(self)

    def _choose(self, images: Sequence[str]) -> list[str]:
        """Choose the images by split and fold."""
        chosen = list(images)
        if self.ann_file:
            chosen = read_split(self.ann_file, images, self.img_suffix, self.backend_args)
        return chosen if self.fold is None else self.fold.choose(chosen)


def check_mask(results: dict[str, Any]) -> dict[str, Any]:
    """Refuse a loaded mask, ``gt_seg_map``, with other values than its two.

    Returns:
        ``results``, unchanged.

    Raises:
        DataError: The mask has other values.
    """
    mask = results["gt_seg_map"]
    if mask.max(initial=0) > 1:
        greys = np.unique(mask[mask > 1]).tolist()
        raise data_error(
            results["seg_map_path"],
            f"holds {name_some([str(g) for g in greys])} as well as 0 and 255",
            "replace the mask, or threshold it",
            NO_CLASS,
        )
    return results


def _published_folders(part: str, data_prefix: Mapping[str, str] | None) -> dict[str, str]:
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    if data_prefix is not None:
        raise ValueError(f"part={part!r} sets data_prefix; give one of them")
    return dict(
        img_path=f"ISIC2018_Task1-2_{part}_Input",
        seg_map_path=f"ISIC2018_Task1_{part}_GroundTruth",
    )
