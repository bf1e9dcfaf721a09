"""Results of prediction: one image's segmentation, and those of many images in turn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import track

from ..errors import UserError, first_line
from ..label_pictures import as_picture, draw_overlay


class Segmentor(Protocol):
    """What runs: a PyTorch model with its config, or an exported file with its metadata."""

    dataset_meta: dict[str, Any]

    def read(self, path: str | Path) -> np.ndarray:
        """Read an image file, (H, W, channels)."""

    def check(self, image: Any) -> None:
        """Raise UserError for an array that is not like those of :meth:`read`."""

    def run(
        self, image: np.ndarray, tta: bool, probabilities: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Class indices, (H, W), and probabilities, (classes, H, W), or None unless asked for."""


class Segmentation:
    """The segmentation of one image.

    Args:
        segmentor: What has run, and runs again for probabilities that were not asked for.
        image: Path of the image, or the image.
        tta: Whether test-time augmentation is used.
        probabilities: Whether to compute probabilities in the same run.

    Attributes:
        path: Path of the image; None for an array.
        labels: Class index of each pixel, (H, W), uint8, or uint16 with more than 256 classes.
        classes: Name of each class.
        palette: RGB of each class, 0 to 255.

    Raises:
        UserError: The image cannot be read, or the model cannot take it.
    """

    def __init__(
        self,
        segmentor: Segmentor,
        image: Path | np.ndarray,
        tta: bool = False,
        probabilities: bool = False,
    ) -> None:
        self._segmentor = segmentor
        self._source = image
        self._tta = tta
        self.path = image if isinstance(image, Path) else None
        self.classes: list[str] = list(segmentor.dataset_meta["classes"])
        self.palette: list[list[int]] = segmentor.dataset_meta["palette"]
        labels, found = segmentor.run(self.image, tta, probabilities)
        self.labels = labels.astype(np.uint8 if len(self.classes) <= 256 else np.uint16)
        if found is not None:
            self.probabilities = found

    @property
    def image(self) -> np.ndarray:
        """The image, (H, W, channels), mostly BGR; a file is read again, as it may be large."""
        if isinstance(self._source, Path):
            return self._segmentor.read(self._source)
        self._segmentor.check(self._source)
        return self._source

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Probability of each class, (classes, H, W), float32, which sum to 1 in each pixel.

        They take ``4 * classes`` bytes a pixel. Unless ``predict`` was asked for them, the model
        runs again.
        """
        found = self._segmentor.run(self.image, self._tta, True)[1]
        assert found is not None
        return found

    def overlay(self, opacity: float = 0.5, legend: bool = False) -> np.ndarray:
        """Paint the classes over the image.

        Args:
            opacity: Opacity of the paint, in [0, 1].
            legend: Whether to name classes and their shares on the right, with small images
                enlarged.

        Returns:
            Picture, uint8, BGR: (H, W, 3), or larger with a legend.
        """
        picture = as_picture(self.image)
        return draw_overlay(picture, self.labels, self.classes, self.palette, opacity, legend)

    def __repr__(self) -> str:
        shares = np.bincount(self.labels.ravel(), minlength=len(self.classes)) / self.labels.size
        most = [int(i) for i in np.argsort(-shares, kind="stable")[:3] if shares[i]]
        named = ", ".join(f"{self.classes[i]} {shares[i]:.1%}" for i in most)
        height, width = self.labels.shape
        return f"<Segmentation of {self.path or 'an array'}, {height}×{width}: {named}>"


class Predictions(Iterator[Segmentation]):
    """Segmentations of several images in their order, each made when it is asked for.

    A file that cannot be read or segmented is left out with a warning that names it; the others go
    on. Each result knows its ``path``.

    Args:
        images: Paths and arrays.
        segment: Function that segments one.
        progress: Whether to show a bar on stderr.

    Attributes:
        failures: Errors of the images left out so far, by path, or by index of an array.

    Raises:
        UserError: At the end, if no image could be segmented.
    """

    def __init__(
        self,
        images: Sequence[Path | np.ndarray],
        segment: Callable[[Path | np.ndarray], Segmentation],
        progress: bool,
    ) -> None:
        self.failures: dict[Path | int, Exception] = {}
        self._results = self._run(images, segment, progress)

    def __next__(self) -> Segmentation:
        return next(self._results)

    def _run(
        self,
        images: Sequence[Path | np.ndarray],
        segment: Callable[[Path | np.ndarray], Segmentation],
        progress: bool,
    ) -> Iterator[Segmentation]:
        bar = track(images, "Segmenting", console=Console(stderr=True), disable=not progress)
        done = 0
        for i, image in enumerate(bar):
            try:
                result = segment(image)
            except Exception as error:  # memory that is short for this one, for example
                self.failures[image if isinstance(image, Path) else i] = error
                name = str(image) if isinstance(image, Path) else f"image {i}"
                said = first_line(error)
                warnings.warn(
                    f"left out: {said if name in said else f'{name}: {said}'}", stacklevel=3
                )
                continue
            done += 1
            yield result
            del result  # the caller may keep it; this frame must not, while the next one runs
        if not done:
            first = next(iter(self.failures.values()))
            raise UserError(
                f"none of {len(images)} images can be segmented: {first_line(first)}"
            ) from first
