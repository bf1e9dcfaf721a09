"""Export a segmentor: write the file, run it, compare it with the model, and only then keep it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import torch
from mmseg.models import BaseSegmentor
from timm.layers import to_2tuple
from torch import Tensor

from ..attention import HeadMixingAttention
from ..backbones.block import is_batch_norm
from ..backbones.vit import ViTTrunk
from ..errors import UserError
from .formats import FORMATS, first_line
from .metadata import describe
from .network import ExportNetwork, Normalize, whole_logits

#: Largest difference, as a part of the largest logit, that rounding in fp32 explains.
TOLERANCE = 1e-3


class Comparison(NamedTuple):
    """How a written file differs from the model on random images.

    Attributes:
        shape: (B, 3, H, W) of the images.
        absolute: Largest difference of a logit.
        relative: The same over the largest logit.
    """

    shape: tuple[int, ...]
    absolute: float
    relative: float


def training_size(model: BaseSegmentor) -> tuple[int, int] | None:
    """Height and width of the training crop as the config tells it, in pixels, or None."""
    cfg = model.cfg.model
    size = cfg.get("data_preprocessor", {}).get("size") or (model.test_cfg or {}).get("crop_size")
    return None if size is None else (int(to_2tuple(size)[0]), int(to_2tuple(size)[1]))


def normalizes_maps(model: BaseSegmentor) -> bool:
    """Whether a BatchNorm of attention maps ties the model to its training number of tokens."""
    attentions = (m for m in model.modules() if isinstance(m, HeadMixingAttention))
    return any(is_batch_norm(a.mix_norm) for a in attentions if a.mix_norm is not None)


def export_segmentor(
    model: BaseSegmentor,
    path: str | os.PathLike,
    kind: str = "onnx",
    shape: tuple[int, int] | None = None,
    dynamic: bool = False,
    tolerance: float = TOLERANCE,
) -> list[Comparison]:
    """Write a segmentor to a file that maps raw RGB images to logits, and check it.

    The file takes float32 (B, 3, H, W) from 0 to 255 and returns (B, classes, H, W). It is written
    under another name and takes its own once it has agreed with the model.

    Args:
        model: As :func:`~mmseg_deepvit.inference.load_segmentor` returns it, on the CPU; left as
            it is.
        path: Where the file goes; an older one is replaced.
        kind: ``'onnx'``, ``'torchscript'`` or ``'exported-program'``.
        shape: Height and width of the images, one at a time; None for the training crop.
        dynamic: Whether batch, height and width vary instead.
        tolerance: Largest difference allowed, as a part of the largest logit.

    Returns:
        One comparison, or two where sizes vary.

    Raises:
        UserError: The ending is another format's, the file cannot be written, the model cannot be
            exported that way, or the file does not agree with it; nothing is left behind then.
    """
    path, chosen = Path(path), FORMATS[kind]
    if path.suffix != chosen.suffix:
        raise UserError(f"--out {path} must end in {chosen.suffix} for --format {kind}")
    if dynamic and not isinstance(model.backbone, ViTTrunk):
        # Swin's windows, for one, are counted out for a size; tracing them symbolically never ends.
        backbone = type(model.backbone).__name__
        raise UserError(f"{backbone} takes one size when exported: use --shape, not --dynamic")
    size = shape or training_size(model)
    if size is None:
        raise UserError("the config does not tell the training crop: give --shape HEIGHT WIDTH")
    height, width = size
    # Sizes that vary are shown by three that differ and are no multiples of anything.
    example = _images(2, height - 3, width + 5) if dynamic else _images(1, height, width)
    samples = [example, _images(1, height + 21, width + 41)] if dynamic else [example]
    part = path.with_name(f".part-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        network = ExportNetwork(model, None if dynamic else size)
        metadata = describe(model, None if dynamic else size)
        chosen.write(network, example, dynamic, metadata, part)
        results = _compare(model, part, kind, samples, tolerance)
        part.replace(path)
    except OSError as error:
        raise UserError(f"--out {path} cannot be written ({error.strerror or error})") from error
    finally:
        _remove(part)
    return results


def _remove(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError:  # its folder is none, which has been said already
        return


def _images(batch: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 255 * torch.rand(batch, 3, height, width, generator=generator)


@torch.no_grad()
def _compare(
    model: BaseSegmentor, path: Path, kind: str, samples: list[Tensor], tolerance: float
) -> list[Comparison]:
    run, normalize = FORMATS[kind].read(path), Normalize(model)
    results = []
    for images in samples:
        expected = whole_logits(model, normalize(images))
        shape = tuple(images.shape)
        try:
            found = run(images)
        except Exception as error:  # each runtime raises errors of its own
            said = first_line(error)
            raise UserError(f"the {kind} file does not run on images of {shape}: {said}") from error
        if found.shape != expected.shape:
            raise UserError(
                f"the {kind} file gives {tuple(found.shape)} for images of {shape}: use --shape"
            )
        absolute = float((found - expected).abs().max())
        relative = absolute / max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)
        results.append(Comparison(shape, absolute, relative))
        if not relative <= tolerance:  # NaN too
            raise UserError(
                f"the {kind} file differs from the model by {absolute:.3g} on images of {shape}, "
                f"{relative:.3g} of the largest logit: no file is written (--tolerance is "
                f"{tolerance:g})"
            )
    return results
