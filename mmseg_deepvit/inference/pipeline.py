"""A config's test pipeline in two halves: an array from a file, and a batch from an array."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmseg.registry import TRANSFORMS

from ..errors import UserError
from .arrays import check_image


def prediction_steps(cfg: Config, name: str = "test_pipeline") -> list[dict[str, Any]]:
    """Steps of a pipeline of the config, or of its test data; ``LoadAnnotations`` is left out.

    Raises:
        UserError: The config has none.
    """
    steps = cfg.get(name)
    if name not in cfg and name == "test_pipeline":
        dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
        steps = dataset.get("pipeline")
    if not steps:
        raise UserError(f"the config has no {name}; set the steps that prepare images")
    return [_without_annotations(dict(step)) for step in steps if not _loads_labels(step)]


def _loads_labels(step: Any) -> bool:
    return "Annotation" in _name(step)


def _name(step: Any) -> str:
    """Name of a step's class, without its module."""
    kind = step["type"]
    name: str = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition(".")[2]


def _without_annotations(step: dict[str, Any]) -> dict[str, Any]:
    """Test-time augmentation has lists of steps that stand for each other."""
    if _name(step) == "TestTimeAug":
        rows = [[s for s in row if not _loads_labels(s)] for row in step["transforms"]]
        step["transforms"] = [row for row in rows if row]
    return step


class PredictionPipeline:
    """A test pipeline, for files and for arrays.

    The pipeline's first step reads files, of whatever kind its data set has: a registered transform
    that fills ``img`` from ``img_path``.

    Args:
        steps: Result of :func:`prediction_steps`.

    Raises:
        UserError: The first step does not load.
    """

    def __init__(self, steps: list[dict[str, Any]]) -> None:
        first, *rest = steps
        self._reader = _name(first)
        if not self._reader.startswith("Load"):
            raise UserError(
                f"the config's test_pipeline begins with {self._reader}; begin it with a transform "
                "that loads the image, such as LoadImageFromFile"
            )
        self._load = TRANSFORMS.build(first)
        self._prepare = Compose(rest)

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Read an image file as the test does, (H, W, channels).

        Raises:
            DataError: The file cannot be read, or is no image that the config's models take.
        """
        image: np.ndarray = self._load(dict(img_path=os.fspath(path)))["img"]
        return image

    def decode(self, data: bytes, name: str) -> np.ndarray:
        """Read the content of an image file as :meth:`read` does, without a file.

        Args:
            data: Content of the file.
            name: Name of the file, for errors.

        Raises:
            DataError: It is no image that the config's models take.
            UserError: The pipeline's first step reads files alone.
        """
        decode = getattr(self._load, "decode", None)
        if decode is None:
            raise UserError(
                f"{self._reader} of test_pipeline reads files alone, and {name} is none here; name "
                "the file on the command line"
            )
        image: np.ndarray = decode(data, name)
        return image

    def check(self, image: Any, channels: int | None) -> None:
        """Refuse an array that is not like those that :meth:`read` gives.

        Args:
            image: Anything.
            channels: Number of channels that the model takes; None if it is not known.

        Raises:
            UserError: The message says what to convert.
        """
        check_image(image, channels, is_plain=self._reader == "LoadImageFromFile")
        if self._reader == "LoadBands" and image.dtype.kind in "iu" and image.dtype != np.uint8:
            raise UserError(
                f"an image has dtype {image.dtype}, and the model takes values from 0 to 255, as "
                "LoadBands of its config scales them; give the file's path, or scale the array"
            )

    def batch(self, image: np.ndarray, before_last: Any = None) -> dict[str, Any]:
        """Prepare one image for ``test_step`` of a segmentor.

        Args:
            image: Array as :meth:`read` gives it.
            before_last: Transform to run before the last one, which packs.
        """
        *steps, last = self._prepare.transforms
        size = image.shape[:2]
        results = dict(img=image, img_path=None, img_shape=size, ori_shape=size)
        chosen = [*steps, before_last, last] if before_last else [*steps, last]
        batch: dict[str, Any] = pseudo_collate([Compose(chosen)(results)])
        return batch
