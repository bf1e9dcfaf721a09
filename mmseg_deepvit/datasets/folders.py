"""Folders of images and masks as people have them."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations as AnyLoadAnnotations
from mmseg.registry import DATASETS

from ..errors import UserError
from .mask_values import IGNORED, MaskValues, Value
from .matching import match_folders
from .pairs import refuse_unpaired, without_partner
from .pipeline import drop_annotations, edit_pipeline
from .subsets import RandomPart, read_split
from .transforms import LoadAnnotations


@DATASETS.register_module()
class FolderDataset(BaseSegDataset):
    """Images and masks of equal names, in one folder or two, with any endings in any case.

    Hidden files do not count. Subfolders are searched. Every image needs a mask; in ``test_mode``
    there may be no mask at all. Masks without an image do no harm. A value in a mask that
    ``labels`` and ``ignore`` do not name is an error.

    Args:
        labels: For each class its value in the masks, or several, or its colours as ``'#rrggbb'``;
            see :class:`~mmseg_deepvit.datasets.mask_values.MaskValues`. None for masks of class
            indices, with the names in ``metainfo['classes']``.
        ignore: Values or colours that are not trained on and not scored.
        img_suffix: What images' names end in before the dot (``'_sat'``), or with it
            (``'_sat.jpg'``).
        seg_map_suffix: What masks' names end in instead, such as ``'_mask'``.
        part: ``'train'`` or ``'val'``, of ``val_fraction``.
        val_fraction: Share of the images that are for validation, in (0, 1). A hash of ``seed`` and
            the name decides, so an image keeps its part when others are added.
        seed: Seed of that choice.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset`: ``data_root``;
            ``data_prefix`` with the folders ``img_path`` and ``seg_map_path``; ``ann_file``, a text
            file with the names to use, one a line, with or without their ending.

    Raises:
        ValueError: An argument has another value, or two contradict each other.
        UserError: A folder is missing or empty, two files have one name, or an image has no mask.

    Example:
        >>> dataset = dict(
        ...     type='FolderDataset', data_root='scans', part='train', val_fraction=0.2,
        ...     data_prefix=dict(img_path='images', seg_map_path='masks'),
        ...     labels=dict(background=0, lesion=[1, 255]), ignore=[128])
        >>> dataset = dict(
        ...     type='FolderDataset', data_prefix=dict(img_path='all', seg_map_path='all'),
        ...     seg_map_suffix='_mask', ann_file='train.txt',
        ...     labels=dict(road='#804080', car=['#400080', '#4000c0']), ignore=['#000000'])
    """

    def __init__(
        self,
        labels: Mapping[str, Value | Sequence[Value]] | None = None,
        ignore: Sequence[Value] = (),
        img_suffix: str = "",
        seg_map_suffix: str = "",
        part: str | None = None,
        val_fraction: float | None = None,
        seed: int = 0,
        lazy_init: bool = False,
        **kwargs: Any,
    ) -> None:
        for name, only in (("reduce_zero_label", False), ("ignore_index", IGNORED)):
            if kwargs.get(name, only) != only:
                raise ValueError(f"{name} must stay {only}; labels and ignore say what counts")
        self.values, metainfo = _table(labels, ignore, kwargs.pop("metainfo", None))
        if (part is None) != (val_fraction is None):
            raise ValueError("part and val_fraction belong together; give both or none")
        self.chosen = None if val_fraction is None else RandomPart(str(part), val_fraction, seed)
        suffixes = dict(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix)
        super().__init__(metainfo=metainfo, lazy_init=True, **suffixes, **kwargs)
        edit_pipeline(self.pipeline, self._read_values)
        if not lazy_init:
            self.full_init()

    def load_data_list(self) -> list[dict[str, Any]]:
        """List every chosen image with its mask's path, even of a missing mask."""
        images, masks = self._match()
        data_list = []
        for stem in self._choose(images):
            info: dict[str, Any] = dict(
                img_path=osp.join(self.data_prefix["img_path"], images[stem]),
                label_map=None,
                reduce_zero_label=False,
                seg_fields=[],
            )
            if masks is not None:
                file = masks.get(stem, f"{stem}{self.seg_map_suffix}.png")
                info["seg_map_path"] = osp.join(self.data_prefix["seg_map_path"], file)
            data_list.append(info)
        return data_list

    def full_init(self) -> None:
        """List the pairs, and refuse images without a mask."""
        if self._fully_initialized:
            return
        images, masks = self._match()
        if masks is None:
            drop_annotations(self.pipeline)
        else:
            missing, _ = without_partner(self._choose(images), list(masks))
            refuse_unpaired(missing, [], self.data_prefix)
        super().full_init()

    def files_without_partner(self) -> tuple[set[str], list[str]]:
        """Paths of masks that chosen images lack, and of masks without an image."""
        images, masks = self._match()
        if masks is None:
            return set(), []
        folder = self.data_prefix["seg_map_path"]
        there = {osp.join(folder, file) for file in masks.values()}
        lacking = {i["seg_map_path"] for i in self.load_data_list()} - there
        _, extra = without_partner(list(images), list(masks))
        return lacking, [osp.join(folder, masks[stem]) for stem in extra]

    def _match(self) -> tuple[dict[str, str], dict[str, str] | None]:
        """Images and masks by their names; no masks, None, where a test has none."""
        image_folder = self.data_prefix["img_path"]
        folder: str | None = self.data_prefix.get("seg_map_path")
        if self.test_mode and folder and not fileio.isdir(folder, self.backend_args):
            folder = None
        if folder is None and not self.test_mode:
            raise UserError("data_prefix names no seg_map_path; give it, or test_mode=True")
        suffixes = self.img_suffix, self.seg_map_suffix
        images, masks = match_folders((image_folder, folder), suffixes, self.backend_args)
        if not images:
            named = f" that end in {self.img_suffix}" if self.img_suffix else ""
            raise UserError(
                f"{image_folder} holds no images{named}; check data_root, data_prefix and "
                "img_suffix"
            )
        return images, None if folder is None or (self.test_mode and not masks) else masks

    def _choose(self, images: Mapping[str, str]) -> list[str]:
        """Choose images by the list file and by fraction."""
        chosen = list(images)
        if self.ann_file:
            endings = {file.removeprefix(stem) for stem, file in images.items()}
            chosen = read_split(self.ann_file, chosen, tuple(endings), self.backend_args)
        return chosen if self.chosen is None else self.chosen.choose(chosen)

    def _read_values(self, transform: Any) -> list[Any]:
        if not isinstance(transform, AnyLoadAnnotations):
            return [transform]
        return [LoadAnnotations(mask_values=self.values, backend_args=self.backend_args)]


def _table(
    labels: Mapping[str, Value | Sequence[Value]] | None,
    ignore: Sequence[Value],
    metainfo: Mapping[str, Any] | None,
) -> tuple[MaskValues, dict[str, Any]]:
    """The table of values, and names and colours of the classes."""
    meta = dict(metainfo or {})
    classes = meta.get("classes")
    if labels is None:
        if not classes:
            raise ValueError(
                "FolderDataset needs labels=dict(CLASS=VALUE, …), or metainfo=dict(classes=…)"
            )
        labels = {name: i for i, name in enumerate(classes)}
    elif classes and tuple(classes) != tuple(labels):
        raise ValueError(f"labels name {tuple(labels)} and metainfo.classes {classes}; drop one")
    table = MaskValues(labels, ignore)
    return table, {"palette": table.palette(), **meta, "classes": table.classes}
