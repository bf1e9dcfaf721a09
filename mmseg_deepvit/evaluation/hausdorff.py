"""The 95 % Hausdorff distance between two regions of an image.

Paper: Huttenlocher, Klanderman and Rucklidge, Comparing images using the Hausdorff distance,
https://doi.org/10.1109/34.232073; Metrics reloaded, https://arxiv.org/abs/2206.01653.
Deviations: MedPy's ``hd95`` takes one percentile of both directions' distances together; here, as
in the papers, each direction has its own and the larger one counts.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

PERCENT = 95


def hausdorff95(
    a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: tuple[float, float] = (1.0, 1.0)
) -> float:
    """The larger one of the 95th percentiles of distances from A's boundary to B's, and back.

    The distance of a boundary pixel is the Euclidean one between its centre and that of the other
    boundary's nearest pixel; the percentile is interpolated linearly between ranks. See
    :func:`boundary` for what a boundary is.

    If one region is empty there is no distance: it is that of the image's opposite corners, the
    largest there can be, so that finding nothing is never better than finding something. If both
    are empty it is 0.

    Args:
        a: (H, W).
        b: (H, W).
        spacing: Height and width of a pixel, in the unit that the distance shall have.

    Returns:
        In [0, the distance of opposite corners], in pixels unless ``spacing`` says otherwise.
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
    """Pixels of a region with one of their four neighbours outside of it, or of the image.

    Args:
        region: (H, W).

    Returns:
        (N, 2) rows and columns; N = 0 only for an empty region.
    """
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if not len(rows):
        return np.empty((0, 2), dtype=np.int64)
    box = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    framed = np.pad(box, 1)
    inner = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return np.argwhere(box & ~inner) + np.array([rows[0], columns[0]])
