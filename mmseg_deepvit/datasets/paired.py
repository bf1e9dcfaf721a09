"""Data sets of images and masks in two folders, whose files are checked on listing."""

from __future__ import annotations

import os.path as osp
from typing import Any

from mmseg.datasets import BaseSegDataset

from ..errors import UserError
from .pairs import list_masks, list_stems, refuse_unpaired
from .pipeline import drop_annotations


class PairedDataset(BaseSegDataset):
    """Base of data sets whose masks are named as their images.

    In ``test_mode`` the folder may hold no mask at all. Masks without an image do no harm: images
    may be left out on purpose.

    Args:
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset`.

    Raises:
        UserError: A folder is missing or holds no image, or an image has no mask.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """List every image with its mask's path, even of a missing mask."""
        folder = self.data_prefix["img_path"]
        if not list_stems(folder, self.img_suffix, self.backend_args):
            raise UserError(
                f"{folder} holds no images *{self.img_suffix}; check data_root and data_prefix"
            )
        masks = self.list_masks()  # first: it may choose their ending
        data_list: list[dict[str, Any]] = super().load_data_list()
        if masks is None:
            for info in data_list:
                info.pop("seg_map_path", None)
        return data_list

    def full_init(self) -> None:
        """List the pairs, and refuse images without a mask."""
        if self._fully_initialized:
            return
        super().full_init()
        masks = self.list_masks()
        if masks is None:
            drop_annotations(self.pipeline)
            return
        folder = self.data_prefix["seg_map_path"]
        there = {osp.join(folder, stem + self.seg_map_suffix) for stem in masks}
        infos = [self.get_data_info(i) for i in range(len(self))]
        missing = [osp.basename(i["img_path"]) for i in infos if i["seg_map_path"] not in there]
        refuse_unpaired(missing, [], self.data_prefix)

    def list_masks(self) -> list[str] | None:
        """List the masks' names without ending; None if a test has none."""
        return list_masks(self)
