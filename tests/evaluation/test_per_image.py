"""The metric, called as mmengine calls it."""

import csv
import logging
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models import SegTTAModel
from mmseg.structures import SegDataSample

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.evaluation import PerImageMetric, per_image
from mmseg_deepvit.evaluation.overlap import OVERLAP_SCORES

from . import reference
from .cases import CLASSES, random_pairs, sample

ALL = (*OVERLAP_SCORES, "HD95")
GPU = pytest.param("cuda", marks=pytest.mark.gpu)

# Of the lesion: TP 3, FP 1, FN 1, TN 3.
MIXED = sample([[1, 1, 1, 0], [1, 0, 0, 0]], [[1, 1, 1, 1], [0, 0, 0, 0]], "mixed.jpg")
RIGHT = sample([[1, 1, 0, 0], [1, 1, 0, 0]], [[1, 1, 0, 0], [1, 1, 0, 0]], "right.jpg")
NO_LESION = sample(np.zeros((2, 4)), np.zeros((2, 4)), "none.jpg")


def build(all_classes=CLASSES, **settings):
    metric = PerImageMetric(**settings)
    metric.dataset_meta = {"classes": all_classes}
    return metric


def evaluate(metric, *samples):
    metric.process(None, samples)
    return metric.evaluate(len(samples))


@pytest.fixture
def logged(monkeypatch):
    messages = []
    monkeypatch.setattr(per_image, "print_log", lambda message, logger: messages.append(message))
    return messages


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_lesions_by_hand(device):
    samples = [
        {k: {"data": v["data"].to(device)} if k != "img_path" else v for k, v in each.items()}
        for each in (MIXED, RIGHT)
    ]
    results = evaluate(build(metrics=ALL, classes=["lesion"]), *samples)
    means = {name: results[f"per_image/{name}"] for name in ALL}
    assert means == pytest.approx(
        {
            "Dice": (75 + 100) / 2,
            "Jaccard": (60 + 100) / 2,
            "TJaccard": (0 + 100) / 2,
            "Sensitivity": (75 + 100) / 2,
            "Specificity": (75 + 100) / 2,
            "Accuracy": (75 + 100) / 2,
            # Boundaries of 4 pixels, distances 0, 0, 0 and 1: rank 2.85 of 0 to 3.
            "HD95": (0.85 + 0) / 2,
        }
    )
    assert results["per_image/Dice_std"] == pytest.approx(12.5)
    # Of two images a quarter of resamples is one of them twice.
    assert results["per_image/Dice_low"] == pytest.approx(75)
    assert results["per_image/Dice_high"] == pytest.approx(100)
    assert list(results)[:4] == [f"per_image/Dice{end}" for end in ("", "_std", "_low", "_high")]
    assert len(results) == 4 * len(ALL)
    assert all(type(value) is float for value in results.values())


def test_several_classes_are_averaged_in_each_image_first():
    # MIXED: both classes have Dice 75. NO_LESION: 100 for the background, no lesion to score.
    results = evaluate(build(metrics=["Dice"]), MIXED, NO_LESION)
    assert results["per_image/Dice"] == pytest.approx((75 + 100) / 2)
    assert results["per_image/Dice_std"] == pytest.approx(12.5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"classes": ["lesion"]}, (75 + 100) / 2),  # one class: its absence is right
        ({"classes": ["lesion"], "absent": "perfect"}, (75 + 100) / 2),
        ({"classes": ["lesion"], "absent": "skip"}, 75),
        ({"absent": "perfect"}, (75 + 100) / 2),
        ({"absent": "skip"}, (75 + 100) / 2),
    ],
)
def test_a_class_in_neither_truth_nor_prediction(settings, expected):
    metric = build(metrics=["Dice"], **settings)
    assert evaluate(metric, MIXED, NO_LESION)["per_image/Dice"] == pytest.approx(expected)


def test_absence_counts_differently_with_three_classes():
    classes = ("background", "lesion", "hair")  # nowhere any hair
    mixed = (75 + 75) / 2
    default = evaluate(build(classes, metrics=["Dice"]), MIXED)
    assert default["per_image/Dice"] == pytest.approx(mixed)
    perfect = evaluate(build(classes, metrics=["Dice"], absent="perfect"), MIXED)
    assert perfect["per_image/Dice"] == pytest.approx((75 + 75 + 100) / 3)


def test_one_sided_absence_scores_zero_and_the_diagonal():
    missed = sample(np.zeros((4, 5)), np.eye(4, 5), "missed.jpg")
    invented = sample(np.eye(4, 5), np.zeros((4, 5)), "invented.jpg")
    metric = build(metrics=["Dice", "Jaccard", "HD95", "Sensitivity"], classes=["lesion"])
    results = evaluate(metric, missed, invented)
    assert results["per_image/Dice"] == results["per_image/Jaccard"] == 0
    assert results["per_image/HD95"] == pytest.approx(5)
    assert results["per_image/Sensitivity"] == 0  # of the one image with a lesion


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.parametrize("absent", ["perfect", "skip"])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_equals_sets_of_pixels(num_classes, absent, tmp_path):
    classes = tuple("abcd"[:num_classes])
    pairs = random_pairs(num_classes)
    metric = build(classes, metrics=ALL, absent=absent, csv_path=str(tmp_path / "scores.csv"))
    results = evaluate(metric, *(sample(*pair, f"{i}.png") for i, pair in enumerate(pairs)))
    expected = []
    for prediction, truth in (map(np.ndarray.tolist, pair) for pair in pairs):
        for c in range(num_classes):
            p, t = (reference.region(labels, truth, c) for labels in (prediction, truth))
            scores = {k: 100 * v for k, v in reference.overlap(prediction, truth, c).items()}
            scores["HD95"] = reference.hausdorff95(p, t, (9, 11))
            skipped = absent == "skip" and not p | t
            if skipped or math.isnan(scores["Accuracy"]):  # the latter: all is ignored
                scores = dict.fromkeys(scores, math.nan)
            expected.append([scores[name] for name in ALL])
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    written = [[float(row[name] or "nan") for name in ALL] for row in rows]
    np.testing.assert_allclose(written, expected, rtol=1e-12)
    expected = np.reshape(expected, (12, num_classes, len(ALL)))
    by_image = np.nanmean(np.delete(expected, 6, axis=0), axis=1)  # 6 is ignored
    for name, mean in zip(ALL, np.nanmean(by_image, axis=0), strict=True):
        assert results[f"per_image/{name}"] == pytest.approx(mean, rel=1e-12)


def test_ignored_pixels_change_nothing():
    truth = np.array([[1, 1, 1, 0, 0, 0]] * 4)
    prediction = np.array([[1, 1, 0, 0, 0, 0]] * 4)
    ignored = np.hstack([truth, np.full((4, 3), 255)])
    plain = build(metrics=ALL, num_resamples=10)
    expected = evaluate(plain, sample(prediction, truth))
    for predicted in (0, 1):  # any prediction on ignored pixels
        padded = np.hstack([prediction, np.full((4, 3), predicted)])
        assert evaluate(plain, sample(padded, ignored)) == pytest.approx(expected)
    other = build(metrics=ALL, num_resamples=10, ignore_index=7)
    relabelled = np.where(ignored == 255, 7, ignored)
    assert evaluate(other, sample(padded, relabelled)) == pytest.approx(expected)


def test_an_ignored_image_is_left_out(logged):
    void = sample(np.ones((2, 4)), np.full((2, 4), 255), "void.jpg")
    results = evaluate(build(metrics=ALL, classes=["lesion"], absent="perfect"), MIXED, void)
    assert results["per_image/Dice"] == pytest.approx(75)
    assert results["per_image/HD95"] == pytest.approx(0.85)
    assert math.isnan(evaluate(build(metrics=["Dice"]), void)["per_image/Dice"])
    assert "–" in logged[-1]


def test_another_threshold():
    metric = build(metrics=["TJaccard"], classes=["lesion"], threshold=0.6)
    assert evaluate(metric, MIXED)["per_image/TJaccard"] == pytest.approx(60)


def test_spacing_scales_the_distance():
    one = evaluate(build(metrics=["HD95"], classes=["lesion"], spacing=0.1), MIXED)
    two = evaluate(build(metrics=["HD95"], classes=["lesion"], spacing=(0.1, 5)), MIXED)
    # (0, 3) in the truth has (0, 2) nearest, to its left; (1, 0) in the prediction has (0, 0).
    assert one["per_image/HD95"] == pytest.approx(0.085)
    assert two["per_image/HD95"] == pytest.approx(0.85 * 5)


def test_the_table_has_a_row_a_class(logged):
    metric = build(metrics=["Dice", "Sensitivity"], absent="perfect")
    evaluate(metric, MIXED, RIGHT, NO_LESION)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in logged[-1].splitlines()]
    cells = [row for row in cells if row]
    assert cells[0] == ["Class", "Images", "Dice", "Sensitivity"]
    rows = {row[0]: row for row in cells[1:] if row[0]}
    assert list(rows) == ["mean of classes", "background", "lesion"]
    deviation = np.std([75, 100, 100])
    assert rows["lesion"] == ["lesion", "3", f"91.67 ± {deviation:.2f}", "87.50 ± 12.50"]
    below = cells[cells.index(rows["lesion"]) + 1]
    assert re.fullmatch(r"\[7\d\.\d\d, 100\.00\]", below[2])
    assert cells[cells.index(rows["lesion"]) + 2][2:] == ["", "2 images"]  # NO_LESION has none


def test_the_csv_file(tmp_path, logged):
    path = tmp_path / "new" / "scores.csv"
    metric = build(metrics=["Sensitivity", "Dice"], absent="perfect", csv_path=str(path))
    for _ in range(2):  # the second evaluation replaces it
        evaluate(metric, MIXED, NO_LESION)
    assert path.read_text(encoding="utf-8").splitlines() == [
        "image,class,Sensitivity,Dice,TP,FP,FN,TN",
        "mixed.jpg,background,75.0,75.0,3,1,1,3",
        "mixed.jpg,lesion,75.0,75.0,3,1,1,3",
        "none.jpg,background,100.0,100.0,8,0,0,0",
        "none.jpg,lesion,,100.0,0,0,0,8",
    ]
    assert [p.name for p in path.parent.iterdir()] == ["scores.csv"]
    assert f"Scores of each image are in {path}" in logged


def test_an_interrupted_csv_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "scores.csv"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmseg_deepvit.files.os.replace", fail)
    with pytest.raises(UserError, match=r"scores\.csv cannot be written \(No space left"):
        evaluate(build(csv_path=str(path)), MIXED)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_csv_file_goes_next_to_the_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MMLogger, "_instance_dict", MMLogger._instance_dict.copy())
    folder = tmp_path / "run"
    folder.mkdir()
    logger = MMLogger.get_instance("run", log_file=str(folder / "run.log"), log_level="ERROR")
    evaluate(build(metrics=["Dice"], csv_path="auto", prefix="val/lesions"), MIXED)
    assert (folder / "val_lesions.csv").read_text().count("mixed.jpg") == 2
    logging.Handler.close(logger.handlers[-1])
    MMLogger.get_instance("no-file", log_level="ERROR")
    evaluate(build(metrics=["Dice"], csv_path="auto"), MIXED)
    assert (tmp_path / "per_image.csv").is_file()


def test_together_with_mmsegs_metric_from_configs():
    init_default_scope("mmseg")
    evaluator = Evaluator(
        [
            dict(type="IoUMetric", iou_metrics=["mIoU", "mDice"]),
            dict(type="PerImageMetric", metrics=["Dice", "TJaccard"]),
            dict(type="PerImageMetric", classes=["lesion"], metrics=["Dice"], prefix="lesion"),
        ]
    )
    evaluator.dataset_meta = {"classes": CLASSES}
    for each in (MIXED, RIGHT):
        data = {k: PixelData(data=each[k]["data"]) for k in ("pred_sem_seg", "gt_sem_seg")}
        evaluator.process([SegDataSample(metainfo={"img_path": each["img_path"]}, **data)])
    results = evaluator.evaluate(2)
    assert {"mIoU", "mDice", "per_image/Dice", "per_image/TJaccard", "lesion/Dice"} <= set(results)
    assert results["mDice"] == pytest.approx(100 * 14 / 16)  # by pixels: 2·7 / (8 + 8)
    assert results["lesion/Dice"] == pytest.approx(87.5)


@pytest.mark.parametrize("out_channels", [1, 2])
def test_merged_predictions_of_test_time_augmentation(out_channels):
    truth = torch.tensor([[[0, 1, 1, 0]]], dtype=torch.uint8)
    logits = torch.tensor([[[-3.0, 2.0, 2.0, 2.0]]])
    logits = logits if out_channels == 1 else torch.cat([-logits, logits])
    module = SimpleNamespace(out_channels=out_channels, decode_head=SimpleNamespace(threshold=0.5))
    view = SegDataSample(
        metainfo={"img_path": "a.jpg"},
        seg_logits=PixelData(data=logits),
        gt_sem_seg=PixelData(data=truth),
    )
    (merged,) = SegTTAModel.merge_preds(SimpleNamespace(module=module), [[view, view]])
    results = evaluate(build(metrics=["Dice"], classes=["lesion"]), merged.to_dict())
    assert results["per_image/Dice"] == pytest.approx(80)  # TP 2, FP 1


def test_format_only_needs_no_truth(logged):
    without = {k: v for k, v in MIXED.items() if k != "gt_sem_seg"}
    assert evaluate(build(format_only=True), without) == {}
    with pytest.raises(UserError, match=r"^mixed\.jpg has no ground truth.*format_only=True$"):
        evaluate(build(), without)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"metrics": ["Dice", "mIoU"]}, ValueError, "some of Dice, .*HD95, got 'mIoU'"),
        ({"metrics": "Dice"}, TypeError, "metrics must be a list of names, got 'Dice'"),
        ({"metrics": []}, ValueError, "at least one"),
        ({"metrics": ["Dice", "Dice"]}, ValueError, "different names"),
        ({"classes": "lesion"}, TypeError, "classes must be a list of names, got 'lesion'"),
        ({"absent": "zero"}, ValueError, "absent must be 'perfect', 'skip' or None, got 'zero'"),
        ({"threshold": 65}, ValueError, r"threshold must be in \[0, 1\], got 65"),
        ({"num_resamples": 0}, ValueError, "num_resamples must be at least 1, got 0"),
        ({"spacing": 0}, ValueError, "spacing must be one or two positive numbers, got 0"),
        ({"spacing": (1, 1, 1)}, ValueError, r"positive numbers, got \(1, 1, 1\)"),
    ],
)
def test_bad_arguments_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        PerImageMetric(**settings)


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ([[0, 1]], [[0], [1]], "prediction of a.jpg is 1×2 and its ground truth 2×1; .*Resize"),
        ([[0, 1]], [[0, 9]], "label 9 in the ground truth of a.jpg is no class: .* has 2"),
        ([[0, 2]], [[0, 1]], "label 2 in the prediction of a.jpg is no class"),
        ([[0, -1]], [[0, 1]], "label -1 in the prediction of a.jpg is no class"),
    ],
)
def test_bad_label_maps_are_named(prediction, truth, message):
    with pytest.raises(UserError, match=message) as caught:
        evaluate(build(), sample(prediction, truth))
    assert "\n" not in str(caught.value)


def test_unknown_classes_and_no_images_are_named():
    with pytest.raises(UserError, match=r"'mole', .* choose from background, lesion"):
        evaluate(build(classes=["mole"]), MIXED)
    with pytest.raises(UserError, match="the dataset names no classes"):
        PerImageMetric().process(None, [MIXED])
    with pytest.raises(UserError, match="PerImageMetric got no images"):
        evaluate(build())
