"""Fit a file's position embeddings to a trunk: which belong to prefix tokens, and what grid.

Files differ in whether class token and registers have a position of their own. Here the class token
has one and registers have none; a position is only ever added to its token, so one that has no
place of its own is added to the token for good.

Reference: timm ``models/vision_transformer.py`` (``no_embed_class``), facebookresearch/dinov2 and
facebookresearch/deit for where positions are added.
"""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor

from ..backbones.embed import Grid, resize_pos_embed
from ..backbones.vit import ViTTrunk
from ..errors import CheckpointError


def fit_positions(
    model: ViTTrunk, state: dict[str, Tensor], pos_grid: Grid | None, path: str | os.PathLike
) -> Grid:
    """Give a state dict the positions that a trunk has.

    Args:
        model: The trunk.
        state: Weights in the trunk's names; ``pos_embed``, and ``reg_token`` where registers have
            a position, are replaced.
        pos_grid: Height and width of the file's grid, or None to guess.
        path: Named in errors.

    Returns:
        The file's grid.

    Raises:
        CheckpointError: The grid cannot be told, or is not ``pos_grid``.
    """
    pos_embed = state["pos_embed"]
    num_class, num_registers = (
        state[name].shape[1] if name in state else 0 for name in ("cls_token", "reg_token")
    )
    choices = sorted({num_class, num_class + num_registers, 0}, key=lambda n: abs(n - num_class))
    found = find_grid(pos_embed.shape[1], choices, model.patch_grid, pos_grid)
    if found is None:
        raise CheckpointError(
            f"{path} has {pos_embed.shape[1]} positions, and the grid they form cannot be told: "
            "give its height and width, init_cfg=dict(type='Pretrained', checkpoint=…, "
            "pos_grid=(h, w))"
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
    """Tell how many of a file's positions belong to prefix tokens, and the grid of the others.

    Args:
        num_positions: Positions in the file.
        num_prefix: The numbers of prefix positions that are possible, the likeliest first.
        own_grid: The model's grid (h, w).
        pos_grid: The file's grid, where it is known.

    Returns:
        A number of prefix positions, and a grid: ``pos_grid`` if given, else the model's own, else
        a square, else one of the model's aspect ratio; None if no number of prefix positions leads
        to such a grid.
    """
    if pos_grid is not None:
        grid = (pos_grid[0], pos_grid[1])
        counts = [n for n in num_prefix if num_positions - n == grid[0] * grid[1]]
        return (counts[0], grid) if counts else None
    for count in num_prefix:
        for guess in (_same, _square, _same_aspect):
            guessed = guess(num_positions - count, own_grid)
            if guessed is not None:
                return count, guessed
    return None


def _same(count: int, own_grid: Grid) -> Grid | None:
    return own_grid if own_grid[0] * own_grid[1] == count else None


def _square(count: int, own_grid: Grid) -> Grid | None:
    side = math.isqrt(max(count, 0))
    return (side, side) if side and side * side == count else None


def _same_aspect(count: int, own_grid: Grid) -> Grid | None:
    for height in range(1, count + 1):
        width, rest = divmod(count, height)
        if rest == 0 and height * own_grid[1] == width * own_grid[0]:
            return height, width
    return None
