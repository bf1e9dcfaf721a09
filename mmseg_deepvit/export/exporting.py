"""Export of a segmentor: write a file, run it, compare it with the model, then keep it."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmseg.apis import inference_model
from mmseg.models import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from ..backbones.vit import ViTTrunk
from ..errors import UserError, first_line, reason
from ..files import replacing
from ..inference import read_image, training_crop, write_png
from ..inference.exported import ExportedSegmentor, OnnxSegmentor
from .description import describe
from .formats import FORMATS
from .network import ExportNetwork, Normalize, logits_of

#: Largest difference that rounding in fp32 explains, as a share of the largest logit.
TOLERANCE = 1e-3


class Comparison(NamedTuple):
    """Differences between a written file and the model.

    Attributes:
        shape: Shape of random images, (B, 3, H, W), or of an image file, (H, W).
        absolute: Largest difference of a logit; for an image file also of a single logit's sigmoid.
        relative: Largest difference as a share of the largest logit.
        labels: Share of an image file's pixels with the same label; None for random images.
    """

    shape: tuple[int, ...]
    absolute: float
    relative: float
    labels: float | None = None


def export_segmentor(
    model: BaseSegmentor,
    path: str | os.PathLike[str],
    kind: str = "onnx",
    shape: tuple[int, int] | None = None,
    dynamic: bool = False,
    tolerance: float = TOLERANCE,
) -> list[Comparison]:
    """Write a segmentor to a file that maps raw RGB images to logits, and check it.

    The file takes float32 (B, 3, H, W) from 0 to 255 and returns (B, classes, H, W). It is written
    under a temporary name and renamed after two checks: its logits of random images must be the
    model's, and its prediction of an image file that of the config's test pipeline.

    Args:
        model: Segmentor of :func:`~mmseg_deepvit.inference.load_segmentor`, on the CPU; not
            changed.
        path: Path of the file; an older one is replaced.
        kind: ``'onnx'``, ``'torchscript'`` or ``'exported-program'``.
        shape: Height and width of the images, one at a time; None for the training crop.
        dynamic: Whether batch, height and width vary instead.
        tolerance: Largest allowed difference, as a share of the largest logit.

    Returns:
        Comparisons on random images (two if sizes vary) and on an image file. The latter is missing
        if the file takes one size and the test pipeline gives another.

    Raises:
        UserError: The ending belongs to another format, the file cannot be written, the model or
            its test pipeline cannot be exported in this format, or the file disagrees with them.
            No file is left then.
    """
    path, chosen = Path(path), FORMATS[kind]
    if path.suffix != chosen.suffix:
        raise UserError(f"--out {path} must end in {chosen.suffix} for --format {kind}")
    if dynamic and not isinstance(model.backbone, ViTTrunk):
        # Symbolic tracing of Swin's windows does not end: their number depends on the size.
        backbone = type(model.backbone).__name__
        raise UserError(f"{backbone} takes one size when exported; use --shape, not --dynamic")
    size = shape or training_crop(model.cfg)
    if size is None:
        raise UserError("the config does not tell the training crop; give --shape HEIGHT WIDTH")
    height, width = size
    # An example of varying sizes has three different sizes that are multiples of nothing.
    example = _images(2, height - 3, width + 5) if dynamic else _images(1, height, width)
    samples = [example, _images(1, height + 21, width + 41)] if dynamic else [example]
    metadata = describe(model, None if dynamic else size)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sync=True) as part:
            part.touch()  # an unwritable path fails here, before minutes of tracing
            network = ExportNetwork(model, None if dynamic else size)
            chosen.write(network, example, dynamic, metadata, part)
            run = chosen.read(part)
            results = _compare(model, run, kind, samples, tolerance)
            # tools/predict.py opens ONNX files alone.
            segmentor = OnnxSegmentor(part) if kind == "onnx" else ExportedSegmentor(run, metadata)
            results += _compare_prediction(model, segmentor, kind, size, tolerance)
    except OSError as error:
        said = reason(error)
        raise UserError(f"--out {path} cannot be written ({said}); give another path") from error
    return results


def _images(batch: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 255 * torch.rand(batch, 3, height, width, generator=generator)


def _compare_prediction(
    model: BaseSegmentor,
    segmentor: ExportedSegmentor,
    kind: str,
    size: tuple[int, int],
    tolerance: float,
) -> list[Comparison]:
    """Compare predictions from an image file; return nothing if no image fits the file."""
    # The test must cut, pad or resize the first image; the second has the file's size.
    for height, width in ((size[0] + 21, size[1] + 41), size):
        image = _picture(height, width)
        if segmentor.fits(image):
            break
    else:
        return []
    expected, pixels = _predict_file(model, image)
    labels = expected.pred_sem_seg.data[0].numpy() == segmentor.segment(pixels)
    found, scores = segmentor.scores(pixels), expected.seg_logits.data
    result = _difference(found, scores, image.shape[:2], float(labels.mean()))
    if not result.relative <= tolerance:
        raise UserError(
            f"the {kind} file and the model with the config's test_pipeline differ in "
            f"{1 - labels.mean():.1%} of the labels of an image of {image.shape[:2]}, and by "
            f"{result.relative:.3g} in scores; no file is written (--tolerance is {tolerance:g})"
        )
    return [result]


def _picture(height: int, width: int) -> np.ndarray:
    """Draw smooth random colours, (H, W, 3), uint8, BGR."""
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(colours, (width, height), interpolation=cv2.INTER_CUBIC)


def _predict_file(model: BaseSegmentor, image: np.ndarray) -> tuple[SegDataSample, np.ndarray]:
    """Predict from an image file by the config's pipeline; also return the image as read."""
    steps = model.cfg.test_pipeline
    own = copy.deepcopy(steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        write_png(path, image)
        try:
            steps[0]["type"] = "LoadImageFromFile"  # after an array, mmseg leaves another type
            return inference_model(model, str(path)), read_image(path)
        finally:  # mmseg removes LoadAnnotations
            model.cfg.test_pipeline = own


def _difference(
    found: Tensor, expected: Tensor, shape: tuple[int, ...], labels: float | None = None
) -> Comparison:
    absolute = float((found - expected).abs().max())
    largest = max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)
    return Comparison(shape, absolute, absolute / largest, labels)


@torch.no_grad()
def _compare(
    model: BaseSegmentor,
    run: Callable[[Tensor], Tensor],
    kind: str,
    samples: list[Tensor],
    tolerance: float,
) -> list[Comparison]:
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
