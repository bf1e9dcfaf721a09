"""Loading of pairs that refuses what would train in silence on other data than the files hold.

:func:`mmseg_deepvit.safe_loading.install` puts them in the place of mmcv's and mmseg's transforms
of the same names, by which configs and tools look them up.

Reference: mmcv ``mmcv/transforms/loading.py``, mmsegmentation
``mmseg/datasets/transforms/loading.py``.
Deviations: errors name the file; see :mod:`.decoding` for what is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mmcv.transforms
import mmseg.datasets.transforms
import numpy as np
from mmengine import fileio

from .decoding import (
    check_same_size,
    check_same_turn,
    data_error,
    decode_image,
    decode_mask,
    exif_orientation,
)


class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """mmcv's transform, which names the file that cannot be read.

    With other than mmcv's default ``color_type`` and ``imdecode_backend`` it decodes as mmcv does.
    """

    def transform(self, results: dict) -> dict | None:
        """Read ``img_path`` into ``img``, ``img_shape``, ``ori_shape`` and ``exif_orientation``.

        Raises:
            DataError: The file is not there or cannot be used.
        """
        path = results["img_path"]
        if (self.color_type, self.imdecode_backend) == ("color", "cv2") and not self.ignore_empty:
            data = read_bytes(path, self.backend_args)
            image = decode_image(data, path)
            if self.to_float32:
                image = image.astype(np.float32)
            results = {**results, "img": image, "exif_orientation": exif_orientation(data)}
            return results | dict.fromkeys(_SHAPES, image.shape[:2])
        try:
            return super().transform(results)
        except Exception as error:  # decoders raise whatever they like
            raise data_error(path, f"cannot be read ({_line(error)})", "replace it") from error


class LoadAnnotations(mmseg.datasets.transforms.LoadAnnotations):
    """mmseg's transform, which refuses what is no label map of its image."""

    def _load_seg_map(self, results: dict) -> None:
        """Read ``seg_map_path`` into ``gt_seg_map``, (H, W), uint8.

        Raises:
            DataError: The file is not there or cannot be used, or is not of the image's size.
            ValueError: Transform and data set disagree on ``reduce_zero_label``.
        """
        path = results["seg_map_path"]
        data = read_bytes(path, self.backend_args)
        labels = decode_mask(data, path, self.imdecode_backend)
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
                f"{reduce}: give it to the data set alone"
            )
        results["gt_seg_map"] = _label_table(reduce, results.get("label_map") or {})[labels]
        results["seg_fields"].append("gt_seg_map")


_SHAPES = ("img_shape", "ori_shape")


def read_bytes(path: str, backend_args: dict[str, Any] | None = None) -> bytes:
    """Content of a file, of any mmengine file backend.

    Raises:
        DataError: It is not there, a folder, or may not be read.
    """
    try:
        return fileio.get(path, backend_args=backend_args)
    except FileNotFoundError as error:
        remedy = "put it there, or set data_root and data_prefix"
        raise data_error(path, "does not exist", remedy) from error
    except OSError as error:
        said = f"cannot be opened ({error.strerror or _line(error)})"
        raise data_error(path, said, "mend or replace it") from error


def _label_table(reduce_zero_label: bool, label_map: Mapping[int, int]) -> np.ndarray:
    """What each label of a file, 0 to 255, is to training."""
    table = np.arange(256, dtype=np.uint8)
    if reduce_zero_label:
        table = np.concatenate([table[-1:], table[:-2], table[-1:]])
    changed = table.copy()
    for old, new in label_map.items():
        changed[table == old] = new % 256
    return changed


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
