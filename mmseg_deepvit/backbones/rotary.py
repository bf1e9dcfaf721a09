"""Rotary positions of a grid of patches, after the conventions of published models.

Paper: RoFormer, https://arxiv.org/abs/2104.09864; EVA-02, https://arxiv.org/abs/2303.11331;
Perception Encoder, https://arxiv.org/abs/2504.13181; DINOv3, https://arxiv.org/abs/2508.10104.
Reference: timm ``layers/pos_embed_sincos.py`` (``RotaryEmbeddingCat``, ``RotaryEmbeddingDinoV3``).
Deviations: angles are computed on the device of the tokens and for grids that exported graphs
leave open, which timm's modules do not allow; no random changes of coordinates in training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..attention import Rotation
from .arguments import check_choice, pair
from .embed import Grid


@dataclass(frozen=True)
class RotaryPositions:
    """Angles of the patches of a grid.

    A head of d channels has d/4 frequencies for the rows and as many for the columns. Frequency i
    is ``base`` to the power -4·i / d.

    Attributes:
        type: Name of the convention: ``'dinov3'``, ``'eva02'`` or ``'pe'``.
        base: Ratio of the highest to the lowest frequency.
        centered: Whether coordinates are centres of patches, -1 to 1 over the image, in turns
            (DINOv3). Otherwise they are indices of patches, in radians.
        reference_grid: Height and width of the grid to which the indices of other grids are scaled;
            None for no scaling.
        offset: Number that is added to the indices before scaling.
        columns_first: Whether the columns' angles come before the rows'.
        interleaved: Layout of the channel pairs, as in
            :class:`~mmseg_deepvit.attention.Rotation`.
    """

    type: str
    base: float = 10000.0
    centered: bool = False
    reference_grid: Grid | None = None
    offset: float = 0.0
    columns_first: bool = False
    interleaved: bool = True

    def __call__(self, grid: Grid, head_dims: int, like: Tensor) -> Rotation:
        """Angles of a grid.

        Args:
            grid: Height and width of the grid (h, w).
            head_dims: Width d of a head.
            like: Tensor on the device of the result; its dtype is the result's, but at least fp32.

        Returns:
            Angles of h·w patches, row by row.
        """
        dtype = torch.promote_types(like.dtype, torch.float32)
        steps = torch.arange(head_dims // 4, dtype=dtype, device=like.device)
        frequencies = self.base ** (-steps / (head_dims // 4))
        rows, columns = (
            self._coordinates(axis, grid[axis], frequencies)[:, None] * frequencies
            for axis in (0, 1)
        )
        shape = (grid[0], grid[1], head_dims // 4)
        angles = [rows[:, None].expand(shape), columns[None].expand(shape)]
        both = torch.cat(angles[::-1] if self.columns_first else angles, dim=-1).flatten(0, 1)
        return Rotation(both.sin(), both.cos(), self.interleaved)

    def _coordinates(self, axis: int, size: int, like: Tensor) -> Tensor:
        """Coordinates of the rows (axis 0) or columns (axis 1) of a grid, (size,)."""
        indices = torch.arange(size, dtype=like.dtype, device=like.device)
        if self.centered:
            return 2 * math.pi * (2 * ((indices + 0.5) / size) - 1)
        if self.reference_grid is None:
            return indices + self.offset
        return (indices + self.offset) / size * self.reference_grid[axis]


#: The published conventions, by name.
ROTARY = {
    "dinov3": RotaryPositions("dinov3", base=100.0, centered=True, interleaved=False),
    "eva02": RotaryPositions("eva02", reference_grid=(16, 16)),
    "pe": RotaryPositions("pe", columns_first=True),
}
_SETTINGS = [field.name for field in fields(RotaryPositions)]


def make_rotary(
    rope: str | Mapping[str, Any] | None, head_dims: int, grid: Grid, with_cls_token: bool
) -> RotaryPositions | None:
    """Rotary positions from a trunk's argument.

    Args:
        rope: Name of a convention, a dict of it (``type``) and of settings that override it, or
            None for no rotary positions.
        head_dims: Width of a head.
        grid: Grid of ``img_size``, which is the reference grid of ``'pe'``.
        with_cls_token: Whether there is a class token; ``'pe'`` then counts indices from 1.

    Raises:
        ValueError: The name or a setting is unknown, or the head width is no multiple of 4.
    """
    if rope is None:
        return None
    settings: dict[str, Any] = {"type": rope} if isinstance(rope, str) else dict(rope)
    check_choice("rope", settings.get("type"), ROTARY)
    if unknown := settings.keys() - set(_SETTINGS):
        raise ValueError(
            f"rope has no setting {', '.join(sorted(unknown))}; give some of {', '.join(_SETTINGS)}"
        )
    if head_dims % 4:
        raise ValueError(
            f"rope needs heads of a multiple of 4 channels, got {head_dims}; set num_heads to match"
        )
    published = ROTARY[settings["type"]]
    if published.type == "pe":
        published = replace(published, reference_grid=grid, offset=float(with_cls_token))
    if settings.get("reference_grid") is not None:
        settings["reference_grid"] = pair("rope.reference_grid", settings["reference_grid"])
    return replace(published, **settings)
