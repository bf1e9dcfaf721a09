"""Strict loading of images and masks: a file that would be misread is an error that names it.

:func:`mmseg_deepvit.safe_loading.install` registers these transforms instead of mmcv's and mmseg's
under the same names.

Reference: mmcv ``mmcv/transforms/loading.py``, mmsegmentation
``mmseg/datasets/transforms/loading.py``.
Deviations: errors name the file; :mod:`.decoding` says which files are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mmcv
import mmcv.transforms
import mmseg.datasets.transforms
import numpy as np
from mmengine import fileio

from ..errors import reason
from .damage import check_same_size, check_same_turn, data_error
from .decoding import decode_image, decode_mask
from .headers import exif_orientation
from .mask_values import MaskValues


class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """mmcv's transform with strict decoding and errors that name the file.

    With any but the default ``color_type`` and ``imdecode_backend``, mmcv decodes.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Read ``img_path`` into ``img``, ``img_shape``, ``ori_shape`` and ``exif_orientation``.

        Raises:
            DataError: The file is missing or cannot be used.
        """
        path: str = results["img_path"]
        if self._is_strict and not self.ignore_empty:
            data = read_bytes(path, self.backend_args)
            image = self.decode(data, path)
            shape = image.shape[:2]
            turned = exif_orientation(data)
            loaded = dict(img=image, img_shape=shape, ori_shape=shape, exif_orientation=turned)
            return {**results, **loaded}
        try:
            filled: dict[str, Any] | None = super().transform(results)
            return filled
        except Exception as error:  # decoders raise errors of any type
            raise data_error(path, f"cannot be read ({reason(error)})", "replace it") from error

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """Decode the content of a file as :meth:`transform` does.

        Args:
            data: Content of the file.
            path: Path or name of the file, for errors.

        Returns:
            (H, W, 3), or what mmcv gives for another ``color_type``; uint8 or float32, BGR.

        Raises:
            DataError: The file is no image that can be used.
        """
        if self._is_strict:
            image = decode_image(data, path)
        else:
            try:
                image = mmcv.imfrombytes(data, self.color_type, backend=self.imdecode_backend)
            except Exception as error:  # decoders raise errors of any type
                raise data_error(path, f"cannot be read ({reason(error)})", "replace it") from error
            if image is None:
                raise data_error(path, "is no image, or a damaged one", "replace it")
        return image.astype(np.float32) if self.to_float32 else image

    @property
    def _is_strict(self) -> bool:
        return (self.color_type, self.imdecode_backend) == ("color", "cv2")


class LoadAnnotations(mmseg.datasets.transforms.LoadAnnotations):
    """mmseg's transform with strict decoding; a mask must fit its image.

    Args:
        mask_values: Table from the masks' values or colours to classes, of a data set that has
            such; None for class indices.
        **kwargs: Arguments of mmseg's transform.
    """

    def __init__(self, mask_values: MaskValues | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_values = mask_values

    def _load_seg_map(self, results: dict[str, Any]) -> None:
        """Read ``seg_map_path`` into ``gt_seg_map``, (H, W), uint8.

        Raises:
            DataError: The file is missing, cannot be used, or does not have the image's size.
            ValueError: Transform and data set disagree on ``reduce_zero_label``.
        """
        path = results["seg_map_path"]
        data = read_bytes(path, self.backend_args)
        if self.mask_values is None:
            labels = decode_mask(data, path, self.imdecode_backend)
        else:
            labels = self.mask_values.decode(data, path)
        if "ori_shape" in results:
            size = (int(results["ori_shape"][0]), int(results["ori_shape"][1]))
            check_same_size(labels, path, size, results.get("img_path", ""))
        if "exif_orientation" in results:
            turns = results["exif_orientation"], exif_orientation(data)
            check_same_turn(labels, path, turns, results.get("img_path", ""))
        reduce = bool(results["reduce_zero_label"])
        if self.reduce_zero_label not in (None, reduce):
            raise ValueError(
                f"LoadAnnotations has reduce_zero_label={self.reduce_zero_label} and the data set "
                f"{reduce}; set it on the data set alone"
            )
        results["gt_seg_map"] = _label_table(reduce, results.get("label_map") or {})[labels]
        results["seg_fields"].append("gt_seg_map")


def read_bytes(path: str, backend_args: dict[str, Any] | None = None) -> bytes:
    """Read a file of any mmengine file backend.

    Raises:
        DataError: The file is missing, a folder, or not readable.
    """
    try:
        content: bytes = fileio.get(path, backend_args=backend_args)
        return content
    except FileNotFoundError as error:
        remedy = "put it there, or set data_root and data_prefix"
        raise data_error(path, "does not exist", remedy) from error
    except OSError as error:
        said = f"cannot be opened ({reason(error)})"
        raise data_error(path, said, "repair or replace it") from error


def _label_table(reduce_zero_label: bool, label_map: Mapping[int, int]) -> np.ndarray:
    """The label in training of each label in files, (256,), uint8."""
    table = np.arange(256, dtype=np.uint8)
    if reduce_zero_label:
        table = np.concatenate([table[-1:], table[:-2], table[-1:]])
    changed = table.copy()
    for old, new in label_map.items():
        changed[table == old] = new % 256
    return changed
