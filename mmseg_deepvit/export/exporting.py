"""Export of a segmentor: write a file, run it, compare it with the model, then keep it."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from mmseg.models import BaseSegmentor
from torch import Tensor

from ..backbones.vit import ViTTrunk
from ..errors import UserError, reason
from ..files import replacing
from ..inference import input_channels, training_crop
from ..inference.exported import ExportedSegmentor, OnnxSegmentor
from .comparing import Comparison, compare_logits, compare_prediction
from .description import describe
from .formats import FORMATS
from .network import ExportNetwork

#: Largest difference that rounding in fp32 explains, as a share of the largest logit.
TOLERANCE = 1e-3


def export_segmentor(
    model: BaseSegmentor,
    path: str | os.PathLike[str],
    kind: str = "onnx",
    shape: tuple[int, int] | None = None,
    dynamic: bool = False,
    tolerance: float = TOLERANCE,
) -> list[Comparison]:
    """Write a segmentor to a file that maps raw images to logits, and check it.

    The file takes float32 (B, channels, H, W) from 0 to 255, in RGB or in the order of ``bands`` of
    ``LoadBands``, and returns (B, classes, H, W). It is written under a temporary name and renamed
    after two checks: its logits of random images must be the model's, and its prediction of an
    image file that of the config's test pipeline.

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
    channels = input_channels(model.cfg.model)
    # An example of varying sizes has three different sizes that are multiples of nothing.
    example = (
        _images(2, channels, height - 3, width + 5)
        if dynamic
        else _images(1, channels, height, width)
    )
    samples = [example, _images(1, channels, height + 21, width + 41)] if dynamic else [example]
    metadata = describe(model, None if dynamic else size)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sync=True) as part:
            part.touch()  # an unwritable path fails here, before minutes of tracing
            network = ExportNetwork(model, None if dynamic else size)
            chosen.write(network, example, dynamic, metadata, part)
            run = chosen.read(part)
            results = compare_logits(model, run, kind, samples, tolerance)
            # tools/predict.py opens ONNX files alone.
            segmentor = OnnxSegmentor(part) if kind == "onnx" else ExportedSegmentor(run, metadata)
            results += compare_prediction(model, segmentor, kind, size, tolerance)
    except OSError as error:
        said = reason(error)
        raise UserError(f"--out {path} cannot be written ({said}); give another path") from error
    return results


def _images(batch: int, channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 255 * torch.rand(batch, channels, height, width, generator=generator)
