"""Scores from sets of coordinates in plain Python: slow, and without code of the package."""

import math

NAN = math.nan


def region(labels, truth, cls, ignore_index=255):
    """Coordinates of a class, without ignored ones."""
    return {
        (y, x)
        for y, row in enumerate(labels)
        for x, value in enumerate(row)
        if value == cls and truth[y][x] != ignore_index
    }


def overlap(prediction, truth, cls, threshold=0.65, ignore_index=255):
    p = region(prediction, truth, cls, ignore_index)
    t = region(truth, truth, cls, ignore_index)
    everything = {
        (y, x)
        for y, row in enumerate(truth)
        for x, value in enumerate(row)
        if value != ignore_index
    }
    if not everything:
        return dict.fromkeys(
            ("Dice", "Jaccard", "TJaccard", "Sensitivity", "Specificity", "Accuracy"), NAN
        )
    jaccard = len(p & t) / len(p | t) if p | t else 1.0
    others = everything - t
    return {
        "Dice": 2 * len(p & t) / (len(p) + len(t)) if p or t else 1.0,
        "Jaccard": jaccard,
        "TJaccard": jaccard if jaccard >= threshold else 0.0,
        "Sensitivity": len(p & t) / len(t) if t else NAN,
        "Specificity": len(others - p) / len(others) if others else NAN,
        "Accuracy": len(everything - (p ^ t)) / len(everything),
    }


def contour(points):
    return {
        (y, x) for y, x in points if not {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} <= points
    }


def percentile95(values):
    """95th percentile, linear between the two nearest ranks."""
    values = sorted(values)
    rank = 0.95 * (len(values) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(values) - 1)
    return values[low] + (rank - low) * (values[high] - values[low])


def hausdorff95(p, t, size, spacing=(1.0, 1.0)):
    """All pairs of two sets' contour points."""
    if not p and not t:
        return 0.0
    if not p or not t:
        return math.hypot((size[0] - 1) * spacing[0], (size[1] - 1) * spacing[1])

    def directed(a, b):
        return percentile95(
            [
                min(math.hypot((y - v) * spacing[0], (x - u) * spacing[1]) for v, u in b)
                for y, x in a
            ]
        )

    return max(directed(contour(p), contour(t)), directed(contour(t), contour(p)))
