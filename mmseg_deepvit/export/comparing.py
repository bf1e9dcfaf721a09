"""Comparison of a written file with its model: logits of random images, labels of an image file."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tifffile
import torch
from mmseg.apis import inference_model
from mmseg.models import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from ..errors import UserError, first_line
from ..inference import write_png
from ..inference.arrays import RGB_CHANNELS
from ..inference.exported import ExportedSegmentor
from .network import Normalize, logits_of


class Comparison(NamedTuple):
    """Differences between a written file and the model.

    Attributes:
        shape: Shape of random images, (B, channels, H, W), or of an image file, (H, W).
        absolute: Largest difference of a logit; for an image file also of a single logit's sigmoid.
        relative: Largest difference as a share of the largest logit.
        labels: Share of an image file's pixels with the same label; None for random images.
    """

    shape: tuple[int, ...]
    absolute: float
    relative: float
    labels: float | None = None


@torch.no_grad()
def compare_logits(
    model: BaseSegmentor,
    run: Callable[[Tensor], Tensor],
    kind: str,
    samples: list[Tensor],
    tolerance: float,
) -> list[Comparison]:
    """Compare logits of images.

    Args:
        model: Segmentor.
        run: Function of the file, from images to logits.
        kind: Name of the format.
        samples: Images, (B, channels, H, W), from 0 to 255.
        tolerance: Largest allowed difference, as a share of the largest logit.

    Raises:
        UserError: The file does not run, or differs.
    """
    normalize = Normalize(model)
    results = []
    for images in samples:
        expected = logits_of(model, normalize(images))
        shape = tuple(images.shape)
        try:
            found = run(images)
        except Exception as error:  # the runtimes' errors have no common type
            said = first_line(error)
            raise UserError(
                f"the {kind} file does not run on images of {shape} ({said}); use another --format"
            ) from error
        if found.shape != expected.shape:
            raise UserError(
                f"the {kind} file gives {tuple(found.shape)} for images of {shape}; use --shape"
            )
        result = _difference(found, expected, shape)
        results.append(result)
        if not result.relative <= tolerance:  # NaN too
            raise UserError(
                f"the {kind} file differs from the model by {result.absolute:.3g} on images of "
                f"{shape}, {result.relative:.3g} of the largest logit; no file is written "
                f"(--tolerance is {tolerance:g})"
            )
    return results


def compare_prediction(
    model: BaseSegmentor,
    segmentor: ExportedSegmentor,
    kind: str,
    size: tuple[int, int],
    tolerance: float,
) -> list[Comparison]:
    """Compare predictions from an image file; return nothing if no image fits the file.

    Args:
        model: Segmentor with the config of its test.
        segmentor: The file.
        kind: Name of the format.
        size: Height and width that the file was made for.
        tolerance: As in :func:`compare_logits`, of the scores.

    Raises:
        UserError: They differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        # The test must cut, pad or resize the first image; the second has the file's size.
        for shape in ((size[0] + 21, size[1] + 41), size):
            path = _write_image(Path(folder), segmentor.metadata.loading, shape)
            pixels = segmentor.read(path)
            if segmentor.fits(pixels):
                break
        else:
            return []
        expected = _predict_file(model, path)
    labels = expected.pred_sem_seg.data[0].numpy() == segmentor.segment(pixels)
    found, scores = segmentor.scores(pixels), expected.seg_logits.data
    result = _difference(found, scores, shape, float(labels.mean()))
    if not result.relative <= tolerance:
        raise UserError(
            f"the {kind} file and the model with the config's test_pipeline differ in "
            f"{1 - labels.mean():.1%} of the labels of an image of {shape}, and by "
            f"{result.relative:.3g} in scores; no file is written (--tolerance is {tolerance:g})"
        )
    return [result]


def _write_image(folder: Path, loading: dict[str, Any] | None, size: tuple[int, int]) -> Path:
    """Write an image of smooth random values as the test loads it: 8-bit RGB, or all bands."""
    if loading is None:
        path = folder / "image.png"
        write_png(path, np.stack(_smooth(RGB_CHANNELS, size), axis=-1))
        return path
    path, bands = folder / "image.tif", loading["bands"]
    values = np.stack(_smooth(max(bands) + 1, size)).astype(np.float32)
    ranges = np.broadcast_to(loading["value_range"] or (0, 255), (len(bands), 2))
    for band, (low, high) in dict(zip(bands, ranges, strict=True)).items():
        values[band] = low + values[band] / 255 * (high - low)
    layout = "separate" if len(values) > 1 else None
    tifffile.imwrite(path, values.squeeze(), photometric="minisblack", planarconfig=layout)
    return path


def _smooth(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Channels of smooth random values, each (H, W), uint8."""
    cells = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    return [cv2.resize(one, size[::-1], interpolation=cv2.INTER_CUBIC) for one in cells]


def _predict_file(model: BaseSegmentor, path: Path) -> SegDataSample:
    """Predict from an image file by the config's pipeline."""
    steps = model.cfg.test_pipeline
    own = copy.deepcopy(steps)
    try:
        if steps[0]["type"] == "LoadImageFromNDArray":  # mmseg leaves it after an array
            steps[0]["type"] = "LoadImageFromFile"
        return inference_model(model, str(path))
    finally:  # mmseg removes LoadAnnotations
        model.cfg.test_pipeline = own


def _difference(
    found: Tensor, expected: Tensor, shape: tuple[int, ...], labels: float | None = None
) -> Comparison:
    absolute = float((found - expected).abs().max())
    largest = max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)
    return Comparison(shape, absolute, absolute / largest, labels)
