"""Patches over an image: from points to patches, from values of patches to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class PatchGrid:
    """Patches over an image that was resized for the model.

    Attributes:
        shape: Numbers of patches, (h, w).
        patch_size: Height and width of a patch in pixels of the model's input. The last row and
            column may reach beyond the image, where the model pads it.
        input_size: Height and width of the image as the model sees it, padding left out.
        image_size: Height and width of the image itself.
    """

    shape: tuple[int, int]
    patch_size: tuple[float, float]
    input_size: tuple[int, int]
    image_size: tuple[int, int]

    def find(self, x: int, y: int) -> tuple[int, int]:
        """Row and column of the patch that a pixel of the image lies in.

        Args:
            x: Column of the pixel, in [0, width).
            y: Row of the pixel, in [0, height).

        Raises:
            ValueError: The pixel lies outside the image.
        """
        height, width = self.image_size
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"point {x},{y} lies outside the image of {width}×{height} pixels")
        # The centre of the pixel decides: a corner may lie on the border of two patches.
        row = (y + 0.5) * self.input_size[0] / height // self.patch_size[0]
        column = (x + 0.5) * self.input_size[1] / width // self.patch_size[1]
        return int(row), int(column)

    def index(self, x: int, y: int) -> int:
        """Number of the patch that a pixel lies in, row by row; see :meth:`find`."""
        row, column = self.find(x, y)
        return row * self.shape[1] + column

    def box(self, x: int, y: int) -> tuple[float, float, float, float]:
        """Left, top, width and height, in pixels of the image, of the patch a pixel lies in."""
        row, column = self.find(x, y)
        height = self.patch_size[0] * self.image_size[0] / self.input_size[0]
        width = self.patch_size[1] * self.image_size[1] / self.input_size[1]
        return column * width, row * height, width, height

    def spread(self, values: np.ndarray, smooth: bool = True) -> np.ndarray:
        """Values of patches over the model's input.

        Args:
            values: (h·w,) or (h·w, C), row by row.
            smooth: Whether to interpolate between the centres of patches; each patch is of one
                value otherwise.

        Returns:
            (H, W) or (H, W, C) fp32 with H and W of ``input_size``.
        """
        maps = np.asarray(values, np.float32).reshape(*self.shape, *values.shape[1:])
        height, width = (round(n * p) for n, p in zip(self.shape, self.patch_size, strict=True))
        how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
        spread = cv2.resize(maps, (width, height), interpolation=how)
        return spread[: self.input_size[0], : self.input_size[1]]
