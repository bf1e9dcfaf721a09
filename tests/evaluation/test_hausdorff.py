import math

import numpy as np
import pytest

from mmseg_deepvit.evaluation.hausdorff import boundary, hausdorff95

from . import reference


def mask(size, *boxes):
    """Boxes of (top, bottom, left, right), the ends excluded."""
    out = np.zeros(size, dtype=bool)
    for top, bottom, left, right in boxes:
        out[top:bottom, left:right] = True
    return out


def points(region):
    return set(map(tuple, np.argwhere(region).tolist()))


def test_a_boundary_by_hand():
    region = mask((5, 6), (0, 3, 1, 5))  # at the image's upper edge; the inside is (1, 2), (1, 3)
    expected = {(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 4), (2, 1), (2, 2), (2, 3), (2, 4)}
    assert set(map(tuple, boundary(region).tolist())) == expected


def test_moved_squares_have_their_shift_as_distance():
    a, b = mask((20, 20), (5, 10, 5, 10)), mask((20, 20), (5, 10, 8, 13))
    # Of A's 16 boundary pixels 5 are in column 5, 3 from B's first column; the 95th percentile is
    # rank 14.25 of 0 to 15, among those. The way back is the same.
    assert hausdorff95(a, b) == 3
    assert hausdorff95(a, b, spacing=(1.0, 0.5)) == 1.5
    assert hausdorff95(a, b, spacing=(0.5, 1.0)) == 3


def test_a_far_speck_counts_only_from_five_percent_on():
    square = mask((100, 100), (10, 40, 10, 40))  # 116 boundary pixels
    speck = mask((100, 100), (10, 40, 10, 40), (90, 91, 10, 11))
    assert hausdorff95(square, speck) == 0  # 1 of 117
    # 10 of 126 are 51 rows below: rank 118.75 of 0 to 125 is the third of them.
    assert hausdorff95(square, mask((100, 100), (10, 40, 10, 40), (90, 91, 10, 20))) == 51


def test_the_larger_direction_counts():
    small, large = mask((9, 60), (4, 5, 4, 5)), mask((9, 60), (4, 5, 4, 45))
    # From the one pixel: 0. Back: 0, 1, …, 40, whose 95th percentile is 38.
    assert hausdorff95(small, large) == hausdorff95(large, small) == pytest.approx(38)


def test_empty_regions():
    none, some = mask((4, 5)), mask((4, 5), (1, 2, 1, 2))
    assert hausdorff95(none, none) == 0
    assert hausdorff95(none, some) == hausdorff95(some, none) == 5  # rows 3 apart, columns 4
    assert hausdorff95(none, some, spacing=(2.0, 0.5)) == math.hypot(6, 2)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 2.5)])
@pytest.mark.parametrize("density", [0.02, 0.3, 0.8, 1.0])
def test_equals_all_pairs(density, spacing):
    generator = np.random.default_rng(int(100 * density))
    for _ in range(5):
        a, b = generator.random((2, 13, 17)) < [[[density]], [[0.5]]]
        expected = reference.hausdorff95(points(a), points(b), a.shape, spacing)
        assert hausdorff95(a, b, spacing) == pytest.approx(expected, rel=1e-12)
        assert hausdorff95(b, a, spacing) == pytest.approx(expected, rel=1e-12)
