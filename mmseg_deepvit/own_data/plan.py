"""Sizes, schedule and class weights that fit a set of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.subsets import RandomPart
from ..errors import UserError
from .survey import Survey

#: Classes with a smaller share of the pixels are rare.
RARE = 0.01
_LARGEST_WEIGHT = 10.0
#: Largest side of the crop, in pixels.
LARGEST_CROP = {"cpu": 352, "cuda": 512}
_BATCH = 8
#: Passes over the training images, and bounds of the number of iterations.
_EPOCHS, _FEWEST, _MOST = 40, 1000, 20000


@dataclass(frozen=True)
class Sizes:
    """Sizes of images in training and testing, in pixels.

    Attributes:
        crop: Side of the square training crop.
        scale: (width, height) that images are fitted into, before random scaling.
        is_whole: Whether tests take whole images; else they slide windows of the crop.
    """

    crop: int
    scale: tuple[int, int]
    is_whole: bool


def choose_sizes(survey: Survey, patch_size: int, device: str, crop: int | None = None) -> Sizes:
    """Choose the training crop: as large as images and device allow, and a multiple of patches.

    Images more than twice as large as the crop are shrunk to that, so that a crop shows enough of
    them.

    Args:
        survey: Sizes of the images.
        patch_size: Side of a patch; the crop is a multiple of it, and of 16 where it divides 16.
        device: ``'cpu'`` or ``'cuda'``.
        crop: Side that is wanted; None chooses it.

    Raises:
        UserError: The images are smaller than one patch, or ``crop`` is no such multiple.
    """
    unit = 16 if 16 % patch_size == 0 else patch_size
    heights, widths = (sorted(sides) for sides in zip(*survey.sizes.elements(), strict=True))
    height, width = (sides[len(sides) // 2] for sides in (heights, widths))
    shorter = sorted(min(size) for size in survey.sizes.elements())
    side = shorter[len(shorter) // 10]  # most images hold the crop
    if crop is None:
        crop = min(side, LARGEST_CROP[device]) // unit * unit
        if crop == 0:
            raise UserError(
                f"the shorter side of the images is {side} pixels, less than {unit}; enlarge them"
            )
    elif crop < unit or crop % unit:
        raise UserError(f"--crop must be a multiple of {unit}, the patches' size, got {crop}")
    factor = min(1.0, 2 * crop / min(height, width))
    scale = (max(1, round(width * factor)), max(1, round(height * factor)))
    alike = set(survey.sizes) == {(height, width)}
    return Sizes(crop, scale, alike and scale == (crop, crop))


@dataclass(frozen=True)
class Schedule:
    """Length and steps of the training.

    Attributes:
        batch_size: Images of an iteration.
        max_iters: Number of iterations.
        warmup_iters: Number of those in which the learning rate rises.
        val_interval: Iterations from one validation to the next.
        lr: Highest learning rate.
    """

    batch_size: int
    max_iters: int
    warmup_iters: int
    val_interval: int
    lr: float


def choose_schedule(
    num_images: int,
    width: int,
    is_pretrained: bool,
    batch_size: int | None = None,
    max_iters: int | None = None,
) -> Schedule:
    """Choose batch, iterations and learning rate.

    About 40 passes over the images, twice as many from scratch, but 1000 to 20000 iterations.

    Args:
        num_images: Number of training images.
        width: Width of the backbone's tokens; wide models learn more slowly.
        is_pretrained: Whether weights are given.
        batch_size: Images of an iteration; None chooses.
        max_iters: Number of iterations; None chooses.
    """
    batch = batch_size or max(2, min(_BATCH, num_images))
    if max_iters is None:
        passes = _EPOCHS if is_pretrained else 2 * _EPOCHS
        wanted = round(num_images * passes / batch, -2)
        max_iters = int(min(max(wanted, _FEWEST), _MOST if is_pretrained else 2 * _MOST))
    if width >= 768:
        lr = 1e-4
    elif width >= 384 or (is_pretrained and max_iters > 2000):
        lr = 3e-4
    else:
        lr = 1e-3
    warmup = max(1, min(500, max_iters // 16))
    return Schedule(batch, max_iters, warmup, max(1, max_iters // 10), lr)


def class_weights(shares: Sequence[float]) -> list[float] | None:
    """Weights of the classes in the loss, where some class is rare.

    A weight is 1/√share over that of a mean share, from 0.1 to 10. The mean over the pixels is 1,
    so that the loss stays of one size.

    Args:
        shares: Share of each class in the pixels, in [0, 1].

    Returns:
        A weight for each class, or None if no class that occurs is rare.
    """
    present = np.array([s for s in shares if s > 0])
    if not len(present) or present.min() >= RARE:
        return None
    weights = np.array(
        [1 / math.sqrt(s) if s > 0 else 1 / math.sqrt(present.min()) for s in shares]
    )
    weights /= (weights * shares).sum()
    return [round(float(w), 2) for w in weights.clip(1 / _LARGEST_WEIGHT, _LARGEST_WEIGHT)]


def choose_seed(stems: Sequence[str], fraction: float) -> int:
    """The first seed that gives validation the number of images that a fraction means."""
    wanted = min(max(1, round(fraction * len(stems))), len(stems) - 1)

    def distance(seed: int) -> int:
        parts = RandomPart("val", fraction, seed)
        return abs(sum(parts.is_val(stem) for stem in stems) - wanted)

    return min(range(64), key=distance)
