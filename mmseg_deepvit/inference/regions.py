"""Regions of a label map: the largest one of each class, and holes in them.

Reference: MONAI ``KeepLargestConnectedComponent`` and ``FillHoles``, of the same meaning.
Deviations: class 0 is the background, which removed regions become and which alone is filled.
Pixels that touch at a corner are one region; holes are background that no path over edges joins to
the border of the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

#: Settings of ``test_cfg``, which are the attributes of :class:`RegionRules`.
NAMES = ("keep_largest_region", "fill_holes")


@dataclass(frozen=True)
class RegionRules:
    """What is done to the regions of each class but 0, in this order.

    Attributes:
        keep_largest_region: Whether only the largest region stays; the first of equals.
        fill_holes: Whether background inside a region becomes its class.
    """

    keep_largest_region: bool = False
    fill_holes: bool = False

    @classmethod
    def of(cls, test_cfg: Mapping[str, Any] | None) -> RegionRules:
        """Read the rules from ``test_cfg``.

        Raises:
            ValueError: One is neither True nor False.
        """
        settings = {name: (test_cfg or {}).get(name, False) for name in NAMES}
        for name, value in settings.items():
            if not isinstance(value, bool):
                raise ValueError(f"test_cfg.{name} must be True or False, got {value!r}")
        return cls(**settings)

    def __bool__(self) -> bool:
        return self.keep_largest_region or self.fill_holes

    def apply(self, labels: np.ndarray) -> np.ndarray:
        """Apply the rules to class indices, (H, W), of any dtype; ``labels`` are not changed."""
        if not self:
            return labels
        labels = labels.copy()
        for index in np.unique(labels):
            if index == 0:
                continue
            mask = labels == index
            if self.keep_largest_region:
                kept = largest_region(mask)
                labels[mask & ~kept] = 0
                mask = kept
            if self.fill_holes:
                labels[holes(mask) & (labels == 0)] = index
        return labels


def largest_region(mask: np.ndarray) -> np.ndarray:
    """The region of a mask, (H, W) bool, with most pixels, as a mask; an empty one stays empty."""
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    if count <= 2:  # the background and one region
        return mask
    largest: np.ndarray = numbers == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return largest


def holes(mask: np.ndarray) -> np.ndarray:
    """The pixels outside of a mask, (H, W) bool, that the mask encloses, as a mask."""
    _, numbers = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    border = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    inside: np.ndarray = ~mask & ~np.isin(numbers, border)
    return inside
