"""PatchMix: images of a batch exchange rectangles of patches, and so do their label maps.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753, section 4
(patch-wise mixing loss), after CutMix, https://arxiv.org/abs/1905.04899.
Reference: ChengyueGongR/PatchVisionTransformer for the form of ``PUBLISHED`` (no licence; no code
of it is used).
Deviations: label maps are mixed as the images are, so every loss of a segmentor sees the mix.
Rectangles lie inside the grid, so they have the drawn area up to rounding to patches; CutMix cuts
them off at the border. By default each image has another rectangle, shaped like the image. The
published code draws one rectangle of any shape for the batch: see ``aspect`` and ``shared``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from ..backbones.arguments import pair

#: Smallest ``alpha``: below it, PyTorch's Beta draws 0.5 too often (both gamma draws round to 0).
LEAST_ALPHA = 0.01

#: Shape of the rectangles; see :class:`PatchMix`.
Aspect = Literal["image", "random"]
ASPECTS: tuple[str, ...] = get_args(Aspect)

#: Settings of the published code: one rectangle of any shape for the batch, in every batch.
PUBLISHED: dict[str, Any] = dict(alpha=1.0, prob=1.0, aspect="random", shared=True)


class PatchMix:
    """Replace a rectangle of patches in each image by the same place of another image.

    The rectangle's share of the area is 1 − λ, λ ~ Beta(alpha, alpha), rounded to patches. Partners
    are a random permutation of the batch. Random numbers come from torch's default generator, which
    mmengine's ``randomness.seed`` sets. A call ``(inputs, data_samples)`` returns the mixed pair,
    as batch augmentations do.

    Args:
        patch_size: Height and width of a patch (or one number for both), in pixels: those of the
            backbone, or a multiple.
        alpha: Parameter of the Beta distribution, at least 0.01; 1 is uniform.
        prob: Probability, in [0, 1], that a batch is mixed.
        aspect: Shape of the rectangles. ``'image'`` is that of the image, rounded to patches (mean
            ``|log(height / width)|`` 0.07 on 14×14 patches); ``'random'`` draws the height
            uniformly and derives the width from the area (0.62).
        shared: Whether the images of a batch share one rectangle.

    The published code's form is ``PatchMix(patch_size, **PUBLISHED)``, in a config
    ``dict(aspect='random', shared=True, prob=1.0)``.

    Raises:
        ValueError: An argument has another value.
    """

    def __init__(
        self,
        patch_size: int | Sequence[int] = 16,
        alpha: float = 1.0,
        prob: float = 1.0,
        aspect: Aspect = "image",
        shared: bool = False,
    ) -> None:
        self.patch_size = pair("patch_size", patch_size)
        if not LEAST_ALPHA <= alpha < math.inf:
            raise ValueError(f"alpha must be at least {LEAST_ALPHA}, got {alpha}")
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must be from 0 to 1, got {prob}")
        if aspect not in ASPECTS:
            raise ValueError(f"aspect must be one of {', '.join(ASPECTS)}, got {aspect!r}")
        if not isinstance(shared, bool):
            raise ValueError(f"shared must be True or False, got {shared!r}")
        self.alpha = alpha
        self.prob = prob
        self.aspect = aspect
        self.shared = shared

    def __call__(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample]
    ) -> tuple[Tensor, list[SegDataSample]]:
        """Mix a batch.

        Args:
            inputs: Images, (B, C, H, W), after the data preprocessor.
            data_samples: Samples of the images; every pixel-wise field whose name begins with
                ``gt_``, (c, H, W), is mixed with the image.

        Returns:
            New images and samples; the arguments are not changed. A batch of one, and with
            probability 1 − prob any other, is returned unmixed.

        Raises:
            ValueError: Images, samples or fields do not agree.
        """
        if len(inputs) != len(data_samples):
            raise ValueError(f"got {len(inputs)} images and {len(data_samples)} data samples")
        samples = list(data_samples)
        if len(samples) < 2 or torch.rand(()) >= self.prob:
            return inputs, samples
        partners = torch.randperm(len(samples))
        size = (inputs.shape[2], inputs.shape[3])
        patches = self.draw_patches(len(samples), size)
        masks = self.to_pixels(patches, size).to(inputs.device)
        mixed = torch.where(masks[:, None], inputs[partners.to(inputs.device)], inputs)
        return mixed, [
            _mix_labels(sample, samples[partner], mask)
            for sample, partner, mask in zip(samples, partners.tolist(), masks, strict=True)
        ]

    def draw_patches(self, batch: int, size: tuple[int, int]) -> Tensor:
        """Draw the patches to replace in each of ``batch`` images of a size in pixels.

        Returns:
            Bool, (B, ⌈H / patch⌉, ⌈W / patch⌉), on the CPU.
        """
        rows, columns = (math.ceil(s / p) for s, p in zip(size, self.patch_size, strict=True))
        patches = torch.zeros(1 if self.shared else batch, rows, columns, dtype=torch.bool)
        concentration = torch.tensor(self.alpha, dtype=torch.float64)
        kept = torch.distributions.Beta(concentration, concentration).sample((len(patches),))
        sides_of = _sides_of_any_shape if self.aspect == "random" else _sides_like_the_grid
        for mask, area in zip(patches, (1 - kept).tolist(), strict=True):
            height, width = sides_of(rows, columns, area)
            top, left = (
                int(torch.randint(total - side + 1, ()))
                for total, side in ((rows, height), (columns, width))
            )
            mask[top : top + height, left : left + width] = True
        return patches.expand(batch, -1, -1)

    def to_pixels(self, patches: Tensor, size: tuple[int, int]) -> Tensor:
        """Turn masks of patches, (B, h, w), into masks of pixels, (B, H, W)."""
        pixels = patches.repeat_interleave(self.patch_size[0], 1)
        pixels = pixels.repeat_interleave(self.patch_size[1], 2)
        return pixels[:, : size[0], : size[1]]


def _sides_like_the_grid(rows: int, columns: int, area: float) -> tuple[int, int]:
    """Height and width, in patches, of a share of the grid, in the grid's shape."""
    height = max(round(rows * math.sqrt(area)), 1)
    # The width corrects the area for the rounding of the height; it may be 0.
    return height, min(round(area * rows * columns / height), columns)


def _sides_of_any_shape(rows: int, columns: int, area: float) -> tuple[int, int]:
    """Height and width, in patches, of at most a share of the grid, the height drawn at random."""
    count = int(area * rows * columns)
    height = int(torch.randint(1, max(min(rows, count), 2), ()))
    width = count // height
    return (height, width) if width <= columns else (count // columns, columns)


def _mix_labels(sample: SegDataSample, partner: SegDataSample, mask: Tensor) -> SegDataSample:
    """Make a new sample with the partner's pixel-wise labels inside the mask."""
    mixed = sample.new()
    names = [n for n in dict.fromkeys([*sample.keys(), *partner.keys()]) if n.startswith("gt_")]
    for name in names:
        own, other = sample.get(name), partner.get(name)
        if not any(isinstance(field, PixelData) for field in (own, other)):
            continue
        if own is None or other is None:
            raise ValueError(f"PatchMix needs {name} in all samples of a batch or in none")
        data = {key: _mix_field(name, values, other.get(key), mask) for key, values in own.items()}
        setattr(mixed, name, PixelData(metainfo=dict(own.metainfo_items()), **data))
    return mixed


def _mix_field(name: str, own: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    size = tuple(mask.shape)
    for values in (own, other):
        if tuple(values.shape[-2:]) != size:
            raise ValueError(
                f"{name} is {tuple(values.shape[-2:])} and the image {size}; pad both alike "
                "in the data preprocessor"
            )
    return torch.where(mask.to(own.device), other, own)
