"""Fit a file's position embeddings to a trunk's prefix tokens and grid.

In some files class token or registers have positions, in others they have none. In the trunk the
class token has a position and registers have none. Models only ever add a position to its token,
so the positions of registers are added to the registers on loading.

Reference: timm ``models/vision_transformer.py`` (``no_embed_class``), facebookresearch/dinov2,
facebookresearch/deit.
"""

from __future__ import annotations

import math

import torch

from ..backbones.embed import Grid, resize_pos_embed
from ..backbones.vit import ViTTrunk
from ..checkpoints import Checkpoint


def fit_positions(model: ViTTrunk, state: Checkpoint, pos_grid: Grid | None) -> Grid:
    """Fit the position embeddings of some weights to a trunk.

    Args:
        model: Trunk that the weights go into.
        state: Weights in the trunk's names; ``pos_embed`` is replaced, and ``reg_token`` where
            registers have positions.
        pos_grid: Height and width of the file's grid, or None to guess.

    Returns:
        Height and width of the file's grid.

    Raises:
        CheckpointError: The number of positions fits no grid, or not ``pos_grid``.
    """
    pos_embed = state["pos_embed"]
    num_class, num_registers = (
        state[name].shape[1] if name in state else 0 for name in ("cls_token", "reg_token")
    )
    choices = sorted({num_class, num_class + num_registers, 0}, key=lambda n: abs(n - num_class))
    found = find_grid(pos_embed.shape[1], choices, model.patch_grid, pos_grid)
    if found is None:
        raise state.error(
            f"has {pos_embed.shape[1]} positions of an unknown grid",
            "give its height and width, "
            "init_cfg=dict(type='Pretrained', checkpoint=…, pos_grid=(h, w))",
        )
    num_prefix, grid = found
    prefix, patches = pos_embed[:, :num_prefix], pos_embed[:, num_prefix:]
    if num_prefix > num_class:
        state["reg_token"] = state["reg_token"] + prefix[:, num_class:]
    resized = resize_pos_embed(
        patches, grid, model.patch_grid, 0, model.interpolate_mode, model.interpolate_antialias
    )
    own_prefix = pos_embed.new_zeros(1, model.num_prefix_positions, pos_embed.shape[2])
    kept = min(num_class, num_prefix, model.num_prefix_positions)
    own_prefix[:, :kept] = prefix[:, :kept]
    state["pos_embed"] = torch.cat([own_prefix, resized], dim=1)
    return grid


def find_grid(
    num_positions: int, num_prefix: list[int], own_grid: Grid, pos_grid: Grid | None = None
) -> tuple[int, Grid] | None:
    """Find the number of prefix positions in a file, and the grid of the others.

    Args:
        num_positions: Number of positions in the file.
        num_prefix: Possible numbers of prefix positions, the likeliest first.
        own_grid: Grid (h, w) of the model.
        pos_grid: Grid of the file, where it is known.

    Returns:
        A number of prefix positions, and a grid: ``pos_grid`` if given, else the model's own, else
        a square, else one of the model's aspect ratio. None if no number leads to such a grid.
    """
    if pos_grid is not None:
        grid = (pos_grid[0], pos_grid[1])
        counts = [n for n in num_prefix if num_positions - n == grid[0] * grid[1]]
        return (counts[0], grid) if counts else None
    height, width = own_grid
    for count in num_prefix:
        patches = num_positions - count
        if patches < 1:
            continue
        if patches == height * width:
            return count, own_grid
        if (side := math.isqrt(patches)) ** 2 == patches:
            return count, (side, side)
        rows = math.isqrt(patches * height // width) or 1
        columns = patches // rows
        if rows * columns == patches and rows * width == columns * height:
            return count, (rows, columns)
    return None
