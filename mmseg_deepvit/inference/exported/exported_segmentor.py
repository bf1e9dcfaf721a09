"""Prediction with an exported network and its metadata, equal to that of the checkpoint.

Reference: mmsegmentation ``mmseg/apis/inference.py`` and ``BaseSegmentor.postprocess_result``.
Deviations: a file of one size takes no smaller windows, and without windows no image of another
size. Such an image is resized to the file's size.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import mmcv
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...datasets.bands import LoadBands
from ...datasets.decoding import decode_image
from ...datasets.transforms import read_bytes
from ...errors import UserError, first_line
from ..arrays import RGB_CHANNELS, both_classes, check_image
from ..regions import RegionRules
from ..windows import average_windows
from .metadata import Metadata


class ExportedSegmentor:
    """An exported network with the steps before and after it.

    Args:
        run: Function from images, 0 to 255, float32 (1, channels, H, W), to logits,
            (1, classes, H, W); three channels are RGB.
        metadata: Metadata of the file.

    Attributes:
        metadata: Metadata of the file.
        dataset_meta: Classes and palette, as in mmseg's segmentors.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], metadata: Metadata) -> None:
        self._run = run
        self.metadata = metadata
        self.dataset_meta = dict(classes=metadata.classes, palette=metadata.palette)
        loading = metadata.loading
        self._decode = decode_image if loading is None else LoadBands(**loading).decode

    def segment(self, image: np.ndarray) -> np.ndarray:
        """Segment one image, resized, padded and in windows as the config's test does it.

        Args:
            image: Image as :meth:`read` gives it, (H, W, channels).

        Returns:
            Class indices, (H, W), int64.

        Raises:
            UserError: The network does not run on the image, or gives NaN or infinity.
        """
        return self.run(image)[0]

    def run(
        self, image: np.ndarray, tta: bool = False, probabilities: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Segment one image as :meth:`segment`.

        Args:
            image: Image likewise.
            tta: Must be False: metadata do not hold views of the image.
            probabilities: Whether to return them.

        Returns:
            Class indices, (H, W), int64, and probabilities, (classes, H, W), float32, or None.

        Raises:
            UserError: As :meth:`segment`, or ``tta`` is True.
        """
        if tta:
            raise UserError("an exported file knows no test-time augmentation; use the checkpoint")
        scores, threshold = self.scores(image), self.metadata.threshold
        labels = scores.argmax(dim=0) if threshold is None else (scores[0] > threshold).long()
        found = RegionRules(**(self.metadata.regions or {})).apply(labels.numpy())
        if not probabilities:
            return found, None
        return found, both_classes(scores.softmax(dim=0) if threshold is None else scores)

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Read an image file as training does: (H, W, 3), uint8, BGR, or bands, float32."""
        return self._decode(read_bytes(os.fspath(path)), os.fspath(path))

    def check(self, image: Any) -> None:
        """Raise UserError unless an array is like those of :meth:`read`."""
        is_plain = self.metadata.loading is None
        check_image(image, self.metadata.channels, is_plain)

    def scores(self, image: np.ndarray) -> Tensor:
        """Compute logits, or the sigmoid of a single logit, of an image as in :meth:`segment`.

        Returns:
            (classes or 1, H, W).
        """
        pixels, (height, width) = self._prepare(image)
        logits = self._logits(pixels)[:, :, :height, :width]
        if not logits.isfinite().all():
            raise UserError("the exported file gives NaN or infinity; export the checkpoint again")
        if logits.shape[2:] != image.shape[:2]:
            corners = self.metadata.align_corners
            logits = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=corners)
        return logits[0] if self.metadata.threshold is None else logits[0].sigmoid()

    def fits(self, image: np.ndarray) -> bool:
        """Whether the file takes an image at the size, or in the windows, of the config's test."""
        size = self._pad(self._resize(image)).shape[:2]
        return self._slides(size) if self.metadata.windows else self._takes(size)

    def _prepare(self, image: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        """Make the file's input, and the height and width of the image without padding."""
        resized = self._resize(image)
        padded = self._pad(resized)
        if self._takes(padded.shape[:2]):
            return padded, resized.shape[:2]
        size = self.metadata.input_size
        assert size is not None
        resized = _in_order(mmcv.imresize(image, (size[1], size[0])))
        return resized, resized.shape[:2]

    def _resize(self, image: np.ndarray) -> np.ndarray:
        """Bring an image to the size of the test pipeline and the order of the file's input."""
        how = self.metadata.resize
        if how is not None:
            resize = mmcv.imrescale if how["keep_ratio"] else mmcv.imresize
            image = resize(image, tuple(how["scale"]))
        return _in_order(image)

    def _pad(self, image: np.ndarray) -> np.ndarray:
        """Pad below and on the right."""
        how = self.metadata.padding
        if how is None:
            return image
        height, width = image.shape[:2]
        by = how.get("size_divisor", 1)
        size = how.get("size") or (-(-height // by) * by, -(-width // by) * by)
        shape = (max(height, size[0]), max(width, size[1]), image.shape[2])
        padded = np.broadcast_to(np.float32(how["value"]), shape).copy()
        padded[:height, :width] = image
        return padded

    def _takes(self, size: tuple[int, ...]) -> bool:
        own = self.metadata.input_size
        return own is None or list(size) == own or self._slides(size)

    def _slides(self, size: tuple[int, ...]) -> bool:
        """Whether an image is segmented in windows."""
        own, windows = self.metadata.input_size, self.metadata.windows
        if windows is None or own is None:
            return windows is not None
        return own == windows["crop_size"] and size[0] >= own[0] and size[1] >= own[1]

    def _logits(self, image: np.ndarray) -> Tensor:
        """Map the file's input, (H, W, channels), to logits, the average of windows if large."""
        batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32))
        windows = self.metadata.windows
        if windows is None or not self._slides(image.shape[:2]):
            return self._checked_run(batch)
        weights = windows.get("weights", "constant")
        sizes = windows["crop_size"], windows["stride"]
        return average_windows(self._checked_run, batch, *sizes, weights=weights)

    def _checked_run(self, batch: Tensor) -> Tensor:
        size = "×".join(map(str, batch.shape[2:]))
        try:
            logits = self._run(batch)
        except Exception as error:  # the runtimes' errors have no common type
            said = first_line(error)
            raise UserError(
                f"the exported file does not run on {size} pixels ({said}); export the checkpoint "
                "again"
            ) from error
        channels = len(self.metadata.classes) if self.metadata.threshold is None else 1
        expected = (1, channels, *batch.shape[2:])
        if tuple(logits.shape) != expected:
            raise UserError(
                f"the exported file gives {tuple(logits.shape)} for {size} pixels and its metadata "
                f"say {expected}; export the checkpoint again"
            )
        return logits


def _in_order(image: np.ndarray) -> np.ndarray:
    """Turn B, G, R round; mmcv drops the axis of a single channel when it resizes."""
    image = image[..., None] if image.ndim == 2 else image
    return image[..., ::-1] if image.shape[2] == RGB_CHANNELS else image
