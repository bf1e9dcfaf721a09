"""Overlap of prediction and truth: counts of one image, and scores from counts.

Paper: Skin Lesion Analysis Toward Melanoma Detection 2018, https://arxiv.org/abs/1902.03368 (the
thresholded Jaccard); Taha and Hanbury, Metrics for evaluating 3D medical image segmentation,
https://doi.org/10.1186/s12880-015-0068-x (the others).
Deviations: none.

Each class is scored against all others together. TP, FP, FN and TN are numbers of pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Names of what is counted, in pixels.
COUNTS = ("TP", "FP", "FN", "TN")
#: Scores from counts, in the order of tables.
OVERLAP_SCORES = ("Dice", "Jaccard", "TJaccard", "Sensitivity", "Specificity", "Accuracy")


def class_counts(
    prediction: NDArray[np.integer], truth: NDArray[np.integer], num_classes: int
) -> NDArray[np.int64]:
    """Count TP, FP, FN and TN of every class.

    Args:
        prediction: Classes of N pixels, (N,), each in [0, ``num_classes``).
        truth: True classes of the same pixels, (N,), without ignored pixels.
        num_classes: Number of classes, C.

    Returns:
        (C, 4): TP, FP, FN, TN; every row sums to N.
    """
    return counts_of_table(confusion_table(prediction, truth, num_classes))


def confusion_table(
    prediction: NDArray[np.integer], truth: NDArray[np.integer], num_classes: int
) -> NDArray[np.int64]:
    """Count the pixels of each true class, down, by their predicted class, across, (C, C).

    Arguments are those of :func:`class_counts`.
    """
    pairs = np.multiply(truth, num_classes, dtype=np.int64) + prediction
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def counts_of_table(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts of :func:`class_counts` from a table of :func:`confusion_table`."""
    both = table.diagonal()
    false_positive = table.sum(axis=0) - both
    false_negative = table.sum(axis=1) - both
    true_negative = table.sum() - both - false_positive - false_negative
    return np.stack([both, false_positive, false_negative, true_negative], axis=1)


def overlap_scores(counts: NDArray[np.integer], threshold: float) -> dict[str, NDArray[np.float64]]:
    """Compute the scores of classes in images.

    ============  ====================  ==========================================
    Score         Value                 Value in place of 0/0
    ============  ====================  ==========================================
    Dice          2TP / (2TP + FP + FN) 1: the class is rightly found nowhere
    Jaccard       TP / (TP + FP + FN)   1: the same
    TJaccard      Jaccard, or 0 below   1: the same
                  ``threshold``
    Sensitivity   TP / (TP + FN)        nan: the truth has no such pixel
    Specificity   TN / (TN + FP)        nan: the truth has no other pixel
    Accuracy      (TP + TN) / all       nan
    ============  ====================  ==========================================

    Dice and Jaccard are 0 if only one of prediction and truth has the class. All scores of an image
    without a counted pixel are nan.

    Args:
        counts: Counts of :func:`class_counts`, (..., 4).
        threshold: Smallest Jaccard index, in [0, 1], that TJaccard does not set to 0.

    Returns:
        Array (...) in [0, 1], or nan, for every name in :data:`OVERLAP_SCORES`.
    """
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
    empty = np.where(tp + fp + fn + tn > 0, 1.0, np.nan)
    jaccard = _ratio(tp, tp + fp + fn, empty)
    return {
        "Dice": _ratio(2 * tp, 2 * tp + fp + fn, empty),
        "Jaccard": jaccard,
        "TJaccard": np.where(jaccard < threshold, 0.0, jaccard),
        "Sensitivity": _ratio(tp, tp + fn, np.nan),
        "Specificity": _ratio(tn, tn + fp, np.nan),
        "Accuracy": _ratio(tp + tn, tp + fp + fn + tn, np.nan),
    }


def _ratio(
    part: NDArray[np.integer], total: NDArray[np.integer], otherwise: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """``part / total``, and ``otherwise`` where ``total`` is 0."""
    return np.where(total > 0, part / np.maximum(total, 1), otherwise)
