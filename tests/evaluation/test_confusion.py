import csv

import cv2
import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.evaluation import ConfusionMetric
from mmseg_deepvit.evaluation.confusion_files import (
    CLASS_SCORES,
    MATRIX,
    PICTURE,
    SCORES,
    write_picture,
)

from .cases import random_pairs, sample

CLASSES = ("road", 'a "quoted", name', "sky", "never there")


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Files of our metric, and the scores of mmseg's."""
    init_default_scope("mmseg")
    folder = tmp_path_factory.mktemp("confusion") / "made"
    theirs = dict(type="IoUMetric", iou_metrics=["mIoU", "mDice", "mFscore"])
    evaluator = Evaluator([dict(type="ConfusionMetric", out_dir=str(folder)), theirs])
    evaluator.dataset_meta = {"classes": CLASSES}
    pairs = random_pairs(3)
    for prediction, truth in pairs:
        evaluator.process([sample(prediction, truth)])
    return folder, pairs, evaluator.evaluate(len(pairs))


def test_the_matrix_counts_every_pixel_once(evaluated):
    folder, pairs, _ = evaluated
    expected = np.zeros((4, 4), int)
    for prediction, truth in pairs:
        for p, t in zip(np.ravel(prediction), np.ravel(truth), strict=True):
            if t != 255:
                expected[t, p] += 1
    head, *body = rows(folder / MATRIX)
    assert head == ["true class", *CLASSES]
    assert [row[0] for row in body] == list(CLASSES)
    assert np.array_equal([[int(n) for n in row[1:]] for row in body], expected)
    assert expected[3].sum() == 0


def test_the_scores_are_mmsegs(evaluated):
    """mmseg rounds to two decimals; a class that is nowhere has no score, and is in no mean."""
    folder, _, metrics = evaluated
    head, *body, mean = rows(folder / SCORES)
    assert head == ["class", *CLASS_SCORES, "pixels"]
    assert body[3][1:] == [""] * len(CLASS_SCORES) + ["0"]
    assert mean[0] == "mean"
    named = dict(zip(CLASS_SCORES, map(float, mean[1:-1]), strict=True))
    theirs = dict(IoU="mIoU", Acc="mAcc", Dice="mDice", Precision="mPrecision")
    for ours, name in theirs.items():
        assert named[ours] == pytest.approx(metrics[name], abs=0.0051), name
    assert not [name for name in metrics if "confusion" in name]


@pytest.mark.parametrize("count", [2, 40])
def test_the_picture(count, tmp_path):
    """Dark on the diagonal, grey for a class without pixels; it grows with the classes."""
    table = np.diag(np.arange(count)) * 100
    write_picture(tmp_path / PICTURE, [f"class {i}" for i in range(count)], table)
    picture = cv2.imread(str(tmp_path / PICTURE))
    assert min(picture.shape[:2]) > 15 * count
    dark = (picture < (120, 60, 20)).all(-1) & (picture[..., 0] > picture[..., 2] + 40)
    grey = (picture == 211).all(-1)
    assert dark.sum() > 20 * (count - 1)
    assert grey.sum() > 100


def test_bad_input(tmp_path):
    metric = ConfusionMetric(str(tmp_path / "file"))
    with pytest.raises(UserError, match="names no classes"):
        metric.process({}, [sample([[0]], [[0]])])
    metric.dataset_meta = {"classes": CLASSES}
    with pytest.raises(UserError, match=r"label 4 in the prediction of a\.jpg is no class"):
        metric.process({}, [sample([[4]], [[0]])])
    metric.process({}, [sample([[1]], [[0]])])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file cannot be written .*; give another folder"):
        metric.compute_metrics(metric.results)
