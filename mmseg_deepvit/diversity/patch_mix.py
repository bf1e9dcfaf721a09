"""PatchMix: images of a batch exchange rectangles of whole patches, and their labels with them.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753, section 4
(patch-wise mixing loss), after CutMix, https://arxiv.org/abs/1905.04899.
Deviations: label maps are mixed as the images are, so that every loss of a segmentor sees the mix;
each image has a rectangle of its own, always whole inside the grid (CutMix cuts it off at the
border), so that its area is what was drawn, but for whole patches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

#: Below this torch's Beta draws too many halves: both of its gamma variables are zero to rounding.
LEAST_ALPHA = 0.01


class PatchMix:
    """Replace a rectangle of patches in each image by the same place of another image.

    The area's share is 1 − λ, λ ~ Beta(alpha, alpha), to whole patches; partners are a random
    permutation of the batch. Random numbers come from torch's default generator, which mmengine's
    ``randomness.seed`` sets. A call ``(inputs, data_samples)`` returns the mixed pair, as batch
    augmentations do.

    Args:
        patch_size: Height and width of a patch (or one number for both), in pixels: those of the
            backbone, or a multiple.
        alpha: Of the Beta distribution, at least 0.01; 1 is uniform.
        prob: Probability, in [0, 1], that a batch is mixed at all.

    Raises:
        ValueError: A value outside what is said above.
    """

    def __init__(
        self, patch_size: int | Sequence[int] = 16, alpha: float = 1.0, prob: float = 1.0
    ) -> None:
        sides = (patch_size, patch_size) if isinstance(patch_size, int) else tuple(patch_size)
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            raise ValueError(f"patch_size must be one or two positive integers, got {patch_size!r}")
        if not LEAST_ALPHA <= alpha < math.inf:
            raise ValueError(f"alpha must be at least {LEAST_ALPHA}, got {alpha}")
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must be from 0 to 1, got {prob}")
        self.patch_size: tuple[int, int] = (sides[0], sides[1])
        self.alpha = alpha
        self.prob = prob

    def __call__(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample]
    ) -> tuple[Tensor, list[SegDataSample]]:
        """Mix a batch.

        Args:
            inputs: Images, (B, C, H, W), after the data preprocessor.
            data_samples: One for each image; every pixel-wise field whose name begins with
                ``gt_``, (c, H, W), is mixed with the image.

        Returns:
            New images and samples; what came in is left as it is. A batch of one, and with
            probability 1 − prob any other, is returned itself.

        Raises:
            ValueError: Images, samples or fields do not agree.
        """
        if len(inputs) != len(data_samples):
            raise ValueError(f"got {len(inputs)} images and {len(data_samples)} data samples")
        samples = list(data_samples)
        if len(samples) < 2 or torch.rand(()) >= self.prob:
            return inputs, samples
        partners = torch.randperm(len(samples))
        masks = self._masks(len(samples), (inputs.shape[2], inputs.shape[3])).to(inputs.device)
        mixed = torch.where(masks[:, None], inputs[partners.to(inputs.device)], inputs)
        return mixed, [
            _mix_labels(sample, samples[partner], mask)
            for sample, partner, mask in zip(samples, partners.tolist(), masks, strict=True)
        ]

    def _masks(self, batch: int, size: tuple[int, int]) -> Tensor:
        """Where each image is replaced: bool, (B, H, W)."""
        grid = [math.ceil(s / p) for s, p in zip(size, self.patch_size, strict=True)]
        patches = torch.zeros(batch, *grid, dtype=torch.bool)
        concentration = torch.tensor(self.alpha, dtype=torch.float64)
        kept = torch.distributions.Beta(concentration, concentration).sample((batch,))
        for mask, area in zip(patches, (1 - kept).tolist(), strict=True):
            (top, left), (height, width) = _rectangle(grid, area)
            mask[top : top + height, left : left + width] = True
        pixels = patches.repeat_interleave(self.patch_size[0], 1)
        pixels = pixels.repeat_interleave(self.patch_size[1], 2)
        return pixels[:, : size[0], : size[1]]

    def __repr__(self) -> str:
        """The settings."""
        return f"PatchMix(patch_size={self.patch_size}, alpha={self.alpha}, prob={self.prob})"


def _rectangle(grid: Sequence[int], area: float) -> tuple[list[int], list[int]]:
    """Corner and sides, in patches, of a rectangle of about a share of the grid's area."""
    rows, columns = grid
    height = max(round(rows * math.sqrt(area)), 1)
    # The width makes good what rounding the height has changed; none may be left.
    width = min(round(area * rows * columns / height), columns)
    corner = [
        int(torch.randint(whole - side + 1, ()))
        for whole, side in ((rows, height), (columns, width))
    ]
    return corner, [height, width]


def _mix_labels(sample: SegDataSample, partner: SegDataSample, mask: Tensor) -> SegDataSample:
    """A new sample with all pixel-wise labels replaced by the partner's where the mask says so."""
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
                f"{name} is {tuple(values.shape[-2:])} and the image {size}: pad both alike "
                "in the data preprocessor"
            )
    return torch.where(mask.to(own.device), other, own)
