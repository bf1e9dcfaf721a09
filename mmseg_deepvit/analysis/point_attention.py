"""The attention of points of an image: their patches, and their rows in every block."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmengine.config import Config
from torch import Tensor, nn

from ..inference import ModelInput, training_crop
from ..tokens.backbone_facts import count_norm_tokens, count_prefix_tokens, find_patch_size
from ..tokens.point_rows import PointRows, read_point_rows
from .patch_grid import PatchGrid


def lay_grid(
    backbone: nn.Module, shape: tuple[int, int], entered: ModelInput, image_size: tuple[int, int]
) -> PatchGrid:
    """The places of a layer's tokens on an image.

    Args:
        backbone: Module that gave the tokens.
        shape: Numbers of patches, (h, w).
        entered: The image as the backbone took it.
        image_size: Height and width of the image itself, in pixels.
    """
    height, width = entered.images.shape[-2:]
    patch = find_patch_size(backbone, shape, (height, width))
    sides = patch or (height / shape[0], width / shape[1])
    return PatchGrid(shape, sides, entered.size, image_size)


def read_attention(
    backbone: nn.Module, images: Tensor, grid: PatchGrid, points: Sequence[tuple[int, int]]
) -> list[PointRows] | None:
    """Attention of the patches under some points, in every block.

    Args:
        backbone: Module in evaluation mode.
        images: One normalised image, (1, 3, H, W).
        grid: Patches of the backbone over the image.
        points: x and y of each point, in pixels of the image itself.

    Returns:
        Rows of each block in order, one row for each point; None where some block does not attend
        from all patches to all patches.
    """
    prefix = count_prefix_tokens(backbone)
    places = [prefix + grid.index(x, y) for x, y in points]
    found = read_point_rows(backbone, images, places, prefix + math.prod(grid.shape))
    blocks = [block for block in found if block is not None]
    return blocks if blocks and len(blocks) == len(found) else None


def trained_tokens(backbone: nn.Module, cfg: Config) -> int | None:
    """Number of tokens that the BatchNorms of the maps belong to; None where it does not matter."""
    crop = training_crop(cfg)
    return count_norm_tokens(backbone, crop) if crop else None
