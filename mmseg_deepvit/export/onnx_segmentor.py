"""Predict from an exported ONNX file by onnxruntime, as the checkpoint it came from would.

Reference: mmsegmentation ``mmseg/apis/inference.py`` and ``BaseSegmentor.postprocess_result``.
Deviations: a file of one size cannot take the windows of an image smaller than it; such an image
is brought to the file's size.
"""

from __future__ import annotations

import os
from typing import Any

import mmcv
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CheckpointError, UserError
from ..inference.sliding import find_windows
from .formats import INPUT, OUTPUT, first_line, require
from .metadata import Metadata


class OnnxSegmentor:
    """An exported segmentor, ready for arrays.

    Args:
        path: An ONNX file that ``tools/export.py`` wrote.
        device: ``'cpu'``, or ``'cuda'`` (``'cuda:1'``) with onnxruntime-gpu.

    Attributes:
        metadata: What the file says of itself.
        dataset_meta: Its classes and palette, as mmseg's segmentors have them.

    Raises:
        UserError: onnxruntime is missing, the file cannot be read or is not one of ours, or there
            is no such device.
    """

    def __init__(self, path: str | os.PathLike, device: str = "cpu") -> None:
        (runtime,) = require("onnxruntime")
        if not os.path.isfile(path):
            raise CheckpointError(f"checkpoint {path} does not exist: write it by tools/export.py")
        providers = _providers(runtime, device)
        try:
            self._session = runtime.InferenceSession(os.fspath(path), providers=providers)
        except Exception as error:  # onnxruntime's errors have no common type
            said = first_line(error)
            raise CheckpointError(f"checkpoint {path} is no ONNX that runs ({said})") from error
        properties = self._session.get_modelmeta().custom_metadata_map
        self.metadata = Metadata.from_strings(properties, path)
        self.dataset_meta = dict(classes=self.metadata.classes, palette=self.metadata.palette)

    def segment(self, image: np.ndarray) -> np.ndarray:
        """Segment one image, resized and in windows as the config's test has it.

        Args:
            image: (H, W, 3), uint8, BGR.

        Returns:
            Class indices, (H, W), int64.
        """
        logits = self._logits(self._resize(image))
        logits = self._interpolate(logits, image.shape[:2])[0]
        if self.metadata.threshold is None:
            return logits.argmax(dim=0).numpy()
        return (logits[0].sigmoid() > self.metadata.threshold).long().numpy()

    def _resize(self, image: np.ndarray) -> np.ndarray:
        """The image at the size of the test pipeline, or of the file if it takes no other."""
        facts = self.metadata
        if facts.resize is not None:
            scale = tuple(facts.resize["scale"])
            resize = mmcv.imrescale if facts.resize["keep_ratio"] else mmcv.imresize
            resized = resize(image, scale)
        else:
            resized = image
        size = facts.input_size
        if size is None or list(resized.shape[:2]) == size or self._slides(resized.shape[:2]):
            return resized
        return mmcv.imresize(image, (size[1], size[0]))

    def _slides(self, size: tuple[int, ...]) -> bool:
        """Whether an image goes through in windows."""
        facts = self.metadata
        if facts.windows is None:
            return False
        crop = facts.windows["crop_size"]
        if facts.input_size is None:
            return True
        return facts.input_size == crop and size[0] >= crop[0] and size[1] >= crop[1]

    def _logits(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) BGR to (1, classes, H, W), the mean of windows where the image slides."""
        batch = np.ascontiguousarray(image[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32)
        height, width = batch.shape[2:]
        if not self._slides((height, width)):
            return torch.from_numpy(self._run(batch))
        assert self.metadata.windows is not None
        crop, stride = (tuple(self.metadata.windows[k]) for k in ("crop_size", "stride"))
        windows = list(find_windows((height, width), crop, stride))
        total: Any = 0
        count = np.zeros((1, 1, height, width), np.float32)
        for y1, x1, y2, x2 in windows:
            part = self._run(batch[:, :, y1:y2, x1:x2])
            if isinstance(total, int):
                total = np.zeros((1, part.shape[1], height, width), np.float32)
            total[:, :, y1:y2, x1:x2] += part
            count[:, :, y1:y2, x1:x2] += 1
        return torch.from_numpy(total / count)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        try:
            return self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(batch)})[0]
        except Exception as error:  # onnxruntime's errors have no common type
            shape, said = "×".join(map(str, batch.shape[2:])), first_line(error)
            raise UserError(f"the ONNX file does not run on {shape} pixels ({said})") from error

    def _interpolate(self, logits: Tensor, size: tuple[int, ...]) -> Tensor:
        if logits.shape[2:] == size:
            return logits
        align_corners = self.metadata.align_corners
        return F.interpolate(logits, size, mode="bilinear", align_corners=align_corners)


def _providers(runtime: Any, device: str) -> list[Any]:
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    name = "CUDAExecutionProvider"
    if kind != "cuda" or name not in runtime.get_available_providers():
        raise UserError(f"device {device} cannot be used by this onnxruntime: try --device cpu")
    return [(name, {"device_id": int(index or 0)}), "CPUExecutionProvider"]
