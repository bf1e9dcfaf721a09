"""The 95 % Hausdorff distance between two regions of an image.

Paper: Huttenlocher, Klanderman and Rucklidge, Comparing images using the Hausdorff distance,
https://doi.org/10.1109/34.232073; Metrics reloaded, https://arxiv.org/abs/2206.01653.
Deviations: none from the papers: each direction has a percentile, and the larger one counts.
MedPy's ``hd95`` takes one percentile of both directions' distances together.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

PERCENT = 95


def hausdorff95(
    a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: tuple[float, float] = (1.0, 1.0)
) -> float:
    """Compute the larger of the 95th percentiles of distances from A's boundary to B's, and back.

    Distances are Euclidean, from the centre of a boundary pixel to the nearest centre on the other
    boundary. The percentile is interpolated linearly between ranks. :func:`boundary` defines
    boundaries.

    If one region is empty, the result is the distance of the image's opposite corners, the largest
    possible: finding nothing is never better than finding something. If both are empty, it is 0.

    Args:
        a: Region A, (H, W).
        b: Region B, (H, W).
        spacing: Height and width of a pixel, in the unit of the result.

    Returns:
        Distance in [0, distance of opposite corners], in the unit of ``spacing`` (default: pixels).
    """
    points_a, points_b = boundary(a) * spacing, boundary(b) * spacing
    if not len(points_a) or not len(points_b):
        height, width = a.shape
        corners = math.hypot((height - 1) * spacing[0], (width - 1) * spacing[1])
        return corners if len(points_a) or len(points_b) else 0.0
    there, _ = KDTree(points_b).query(points_a)
    back, _ = KDTree(points_a).query(points_b)
    return float(max(np.percentile(there, PERCENT), np.percentile(back, PERCENT)))


def boundary(region: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Find the pixels of a region, (H, W), with one of their four neighbours outside of it.

    Neighbours beyond the image are outside.

    Returns:
        (N, 2) rows and columns; N = 0 only for an empty region.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    pixels = region.astype(np.uint8)
    inner = cv2.erode(pixels, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.argwhere(region & (inner == 0))
