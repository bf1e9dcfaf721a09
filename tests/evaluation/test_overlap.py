import numpy as np
import pytest

from mmseg_deepvit.evaluation.overlap import OVERLAP_SCORES, class_counts, overlap_scores

from . import reference
from .cases import random_pairs

NAN = np.nan


def test_counts_by_hand():
    prediction = np.array([0, 0, 1, 1, 2, 1])
    truth = np.array([0, 1, 1, 1, 1, 0])
    counts = class_counts(prediction, truth, 4)
    #                           TP FP FN TN
    assert counts.tolist() == [
        [1, 1, 1, 3],
        [2, 1, 2, 1],
        [0, 1, 0, 5],
        [0, 0, 0, 6],
    ]


def test_labels_of_a_byte_do_not_overflow():
    truth = np.array([149, 149], dtype=np.uint8)
    counts = class_counts(np.array([149, 0], dtype=np.uint8), truth, 150)
    assert counts[149].tolist() == [1, 0, 1, 0]
    assert counts[0].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # TP FP FN TN     Dice  Jaccard TJaccard Sensitivity Specificity Accuracy
        ((3, 1, 2, 14), (6 / 9, 3 / 6, 0.0, 3 / 5, 14 / 15, 17 / 20)),
        ((8, 1, 1, 10), (16 / 18, 8 / 10, 0.8, 8 / 9, 10 / 11, 18 / 20)),
        ((0, 0, 0, 20), (1.0, 1.0, 1.0, NAN, 1.0, 1.0)),  # in neither
        ((0, 5, 0, 15), (0.0, 0.0, 0.0, NAN, 15 / 20, 15 / 20)),  # in the prediction alone
        ((0, 0, 5, 15), (0.0, 0.0, 0.0, 0.0, 1.0, 15 / 20)),  # in the truth alone
        ((20, 0, 0, 0), (1.0, 1.0, 1.0, 1.0, NAN, 1.0)),  # everywhere in both
        ((15, 0, 5, 0), (30 / 35, 0.75, 0.75, 0.75, NAN, 0.75)),  # everywhere in the truth
        ((0, 0, 0, 0), (NAN,) * 6),  # all pixels ignored
    ],
)
def test_scores_by_hand(counts, expected):
    scores = overlap_scores(np.array(counts), 0.65)
    assert tuple(scores) == OVERLAP_SCORES
    np.testing.assert_allclose(list(scores.values()), expected, rtol=1e-15)


@pytest.mark.parametrize(("both", "expected"), [(649, 0.0), (650, 0.65), (651, 0.651)])
def test_the_threshold_itself_is_kept(both, expected):
    counts = np.array([both, 0, 1000 - both, 9000])
    assert overlap_scores(counts, 0.65)["TJaccard"] == expected
    assert overlap_scores(counts, 0.6)["TJaccard"] == both / 1000
    assert overlap_scores(counts, 0.7)["TJaccard"] == 0


@pytest.mark.parametrize("num_classes", [2, 5])
def test_scores_are_those_of_sets_of_pixels(num_classes):
    for prediction, truth in random_pairs(num_classes):
        valid = truth != 255
        counts = class_counts(prediction[valid], truth[valid], num_classes)
        scores = overlap_scores(counts, 0.65)
        for c in range(num_classes):
            expected = reference.overlap(prediction.tolist(), truth.tolist(), c)
            for name, value in expected.items():
                np.testing.assert_allclose(scores[name][c], value, rtol=1e-14, err_msg=name)
