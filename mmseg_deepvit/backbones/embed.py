"""From images to patch tokens: patch embeddings and position embeddings.

Paper: ViT, https://arxiv.org/abs/2010.11929 (linear patch embedding); DeepViT,
https://arxiv.org/abs/2103.11886 (convolutional stem of DeepViT-S and -L, after T2T-ViT).
Reference: zhoudaquan/dvit_repo for the stem's layers and names.
Deviations: images of any height and width are padded to a multiple of the patch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .resampling import resampling_weights

Grid = tuple[int, int]


def pad_to_multiple(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Pad images with zeros below and on the right.

    Args:
        x: Images, (B, C, H, W).
        size: Height and width of the unit, in pixels.

    Returns:
        (B, C, H', W') with H' and W' the next multiples of ``size``; ``x`` itself where H and W are
        multiples already.
    """
    pad_h, pad_w = (-x.shape[-2] % size[0], -x.shape[-1] % size[1])
    if is_fixed((pad_h, pad_w)) and not (pad_h or pad_w):
        return x
    return F.pad(x, (0, pad_w, 0, pad_h))


def is_fixed(grid: Grid) -> bool:
    """Whether both sides are plain integers, not symbols of a graph that is being exported."""
    return all(isinstance(side, int) for side in grid)


class PatchEmbed(nn.Module):
    """Linear embedding of non-overlapping patches.

    Args:
        in_channels: Channels of the image.
        embed_dims: Width C of the tokens.
        patch_size: Height and width of a patch in pixels.
    """

    def __init__(self, in_channels: int, embed_dims: int, patch_size: tuple[int, int]) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Embed images of any size.

        Args:
            x: (B, in_channels, H, W).

        Returns:
            Tokens, (B, h·w, C), row by row, and their grid (h, w) of ⌈H / patch⌉ × ⌈W / patch⌉.
        """
        x = self.proj(self._stem(pad_to_multiple(x, self.patch_size)))
        return x.flatten(2).transpose(1, 2), (x.shape[-2], x.shape[-1])

    def _stem(self, x: Tensor) -> Tensor:
        return x


class ConvStem(PatchEmbed):
    """DeepViT's convolutional stem: two convolutions at half the resolution, then patches.

    The layers are: 7×7 of stride 2 to 64 channels, BN, ReLU; 3×3, BN, ReLU; a linear embedding of
    patches of half the size.

    Args:
        in_channels: Channels of the image.
        embed_dims: Width C of the tokens.
        patch_size: Height and width of a patch in pixels, both even.

    Raises:
        ValueError: A side of the patch is odd.
    """

    width = 64

    def __init__(self, in_channels: int, embed_dims: int, patch_size: tuple[int, int]) -> None:
        if patch_size[0] % 2 or patch_size[1] % 2:
            raise ValueError(f"the conv stem needs an even patch_size, got {patch_size}")
        super().__init__(self.width, embed_dims, (patch_size[0] // 2, patch_size[1] // 2))
        self.patch_size = patch_size
        self.conv1 = nn.Conv2d(in_channels, self.width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(self.width)
        self.conv2 = nn.Conv2d(self.width, self.width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(self.width)

    def _stem(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)), inplace=True)


def resize_pos_embed(
    pos_embed: Tensor,
    old_grid: Grid,
    new_grid: Grid,
    num_prefix: int,
    mode: str = "bicubic",
    antialias: bool = False,
) -> Tensor:
    """Resize position embeddings to another grid of patches.

    Args:
        pos_embed: Positions, (1, num_prefix + h·w, C).
        old_grid: Grid (h, w) of ``pos_embed``.
        new_grid: Grid (h', w') of the result.
        num_prefix: Number of leading positions of class token and registers, which do not change.
        mode: Interpolation: ``'bicubic'``, ``'bilinear'`` or ``'nearest'``.
        antialias: Whether bicubic and bilinear average over the old grid where the new one is
            smaller. PyTorch's bicubic results differ in larger grids too, by some percent.

    Returns:
        (1, num_prefix + h'·w', C) in the dtype of ``pos_embed``; ``pos_embed`` itself where the
        grids agree.

    Raises:
        ValueError: ``pos_embed`` does not hold ``old_grid``.
    """
    if pos_embed.shape[1] != num_prefix + old_grid[0] * old_grid[1]:
        raise ValueError(
            f"{pos_embed.shape[1]} positions are not {num_prefix} prefix tokens and a grid of "
            f"{old_grid[0]}×{old_grid[1]}"
        )
    if is_fixed(new_grid) and old_grid == new_grid:
        return pos_embed
    prefix, patches = pos_embed.split([num_prefix, old_grid[0] * old_grid[1]], dim=1)
    # At least fp32: interpolation has no half kernels on CPU, and fp16 would round the weights.
    dtype = torch.promote_types(patches.dtype, torch.float32)
    maps = patches.to(dtype).unflatten(1, old_grid).permute(0, 3, 1, 2)
    smooth = mode in ("bicubic", "bilinear")
    if is_fixed(new_grid):
        maps = F.interpolate(
            maps,
            new_grid,
            mode=mode,
            align_corners=False if smooth else None,
            antialias=antialias and smooth,
        )
    else:
        rows, columns = (
            resampling_weights(old, new, mode, maps, antialias)
            for old, new in zip(old_grid, new_grid, strict=True)
        )
        maps = rows @ maps @ columns.T
    resized = maps.flatten(2).transpose(1, 2).to(pos_embed.dtype)
    return torch.cat([prefix, resized], dim=1)
