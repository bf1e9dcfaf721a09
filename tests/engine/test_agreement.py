"""Everything that disagrees is told at once, before the first iteration."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from mmseg.evaluation import IoUMetric
from mmseg.models.losses import DiceLoss, OhemCrossEntropy
from torch import nn

from mmseg_deepvit.engine import ClassCheckHook
from mmseg_deepvit.engine.checks.agreement import (
    Part,
    find_disagreements,
    find_unmeasured,
    named_heads,
)
from mmseg_deepvit.engine.resuming.seeding import SeededDataset
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.evaluation import ConfusionMetric, PerImageMetric
from mmseg_deepvit.inference import SlidingEncoderDecoder

ROTATE = dict(type="RandomRotate", prob=1.0, degree=9)
CROP = dict(type="RandomCrop", crop_size=(8, 8))


def head(num_classes=11, ignore_index=11, losses=()):
    module = nn.Module()
    module.num_classes, module.ignore_index = num_classes, ignore_index
    module.loss_decode = nn.ModuleList(losses)
    return module


def segmentor(decode=None, auxiliary=None, seg_pad_val=11, kind=nn.Module, **test_cfg):
    model = kind.__new__(kind)
    nn.Module.__init__(model)
    model.decode_head = nn.ModuleList(decode) if isinstance(decode, list) else decode or head()
    if auxiliary is not None:
        model.auxiliary_head = (
            nn.ModuleList(auxiliary) if isinstance(auxiliary, list) else auxiliary
        )
    model.num_classes = next(iter(named_heads(model).values())).num_classes
    model.data_preprocessor = SimpleNamespace(seg_pad_val=seg_pad_val)
    model.test_cfg = test_cfg
    return model


def dataset(*pipeline, num_classes=11, ignore_index=11, **settings):
    """mmseg's own, not yet filled."""
    init_default_scope("mmseg")
    names = tuple(map(str, range(num_classes)))
    settings = {"metainfo": {"classes": names}, "ignore_index": ignore_index, **settings}
    made = BaseSegDataset(lazy_init=True, pipeline=list(pipeline), **settings)
    made.__class__ = type("Roads", (BaseSegDataset,), {"__len__": lambda self: 3})
    return made


def part(name="train", data=None, *metrics, several=True):
    return Part(name, dataset() if data is None else data, metrics, several)


#: What is wrong, and the option that is named for it.
WRONG = {
    "metric": (
        dict(metrics=[IoUMetric(ignore_index=11), IoUMetric()]),
        ["val_evaluator.1.ignore_index=11"],
    ),
    "the metric of images": (
        dict(metrics=[PerImageMetric(ignore_index=12), IoUMetric(ignore_index=11)]),
        ["val_evaluator.0.ignore_index=11"],
    ),
    "fill": (dict(pipeline=[CROP, ROTATE]), ["train_dataloader.dataset.pipeline.1.seg_pad_val=11"]),
    "several fills": (
        dict(
            pipeline=[
                dict(type="Pad", size=(8, 8)),
                dict(type="RandomCutOut", prob=1, n_holes=1, cutout_shape=(1, 1), seg_fill_in=99),
                dict(type="RandomApply", transforms=[ROTATE]),
                dict(type="RandomChoice", transforms=[[CROP, ROTATE]]),
            ]
        ),
        [
            "train_dataloader.dataset.pipeline.0.pad_val.seg=11",
            "train_dataloader.dataset.pipeline.1.seg_fill_in=11",
            "train_dataloader.dataset.pipeline.2.transforms.0.seg_pad_val=11",
            "train_dataloader.dataset.pipeline.3.transforms.0.1.seg_pad_val=11",
        ],
    ),
    "crop": (
        dict(pipeline=[dict(CROP, cat_max_ratio=0.75)]),
        ["train_dataloader.dataset.pipeline.0.ignore_index=11"],
    ),
    "padding": (dict(seg_pad_val=255), ["model.data_preprocessor.seg_pad_val=11"]),
    "heads": (
        dict(decode=head(ignore_index=255), auxiliary=[head(), head(ignore_index=12)]),
        ["model.decode_head.ignore_index=11", "model.auxiliary_head.1.ignore_index=11"],
    ),
    "the cascade": (
        dict(decode=[head(), head(ignore_index=255)]),
        ["model.decode_head.1.ignore_index=11"],
    ),
    "loss": (
        dict(decode=head(losses=[DiceLoss(ignore_index=0), OhemCrossEntropy()])),
        ["model.decode_head.loss_decode.1.ignore_label=11"],
    ),
    "data set": (dict(ignore_index=255), ["train_dataloader.dataset.ignore_index=11"]),
    "all": (
        dict(ignore_index=255, seg_pad_val=255, pipeline=[ROTATE], metrics=[IoUMetric()]),
        [
            "train_dataloader.dataset.ignore_index=11",
            "model.data_preprocessor.seg_pad_val=11",
            "train_dataloader.dataset.pipeline.0.seg_pad_val=11",
            "val_evaluator.0.ignore_index=11",
        ],
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_every_ignored_label_is_compared(kind):
    settings, options = WRONG[kind]
    settings = dict(settings)
    metrics = settings.pop("metrics", [])
    data = dataset(*settings.pop("pipeline", ()), ignore_index=settings.pop("ignore_index", 11))
    parts = [part("train", SeededDataset(data)), part("val", None, *metrics)]
    (line,) = find_disagreements(segmentor(**settings), parts)
    assert line.startswith("label 11 is to be ignored (")
    assert line.partition("; set --cfg-options ")[2].split() == options
    assert "\n" not in line


def test_agreement_passes():
    """Also a class that is filled in or left out of a score on purpose, and what sees no labels."""
    fills = [dict(ROTATE, seg_pad_val=0), dict(type="Pad", size=(8, 8), pad_val=dict(seg=11)), CROP]
    parts = [part("train", dataset(*fills)), part("val", None, IoUMetric(ignore_index=0))]
    assert find_disagreements(segmentor(decode=[head(), head()], auxiliary=head()), parts) == []
    plain = [part("train", dataset(ROTATE, ignore_index=255)), part("val", None, IoUMetric())]
    plain[1] = plain[1]._replace(dataset=dataset(ignore_index=255))
    assert find_disagreements(segmentor(head(ignore_index=255), seg_pad_val=255), plain) == []
    assert find_disagreements(segmentor(), [Part("train", SimpleNamespace(metainfo={}))]) == []


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        (dict(reduce_zero_label=True), "dataset.reduce_zero_label"),
        (dict(label_map={3: 255}), "dataset.metainfo.classes"),
    ],
)
def test_what_loading_writes_goes_before_all(settings, option):
    """mmseg writes 255 there, whatever is to be ignored."""
    data = dataset()
    vars(data).update(settings)
    (line,) = find_disagreements(segmentor(), [part("train", data)])
    assert line.startswith(f"label 255 is to be ignored (train_dataloader.{option})")
    assert "model.decode_head.ignore_index=255" in line


def test_data_sets_in_wrappers_have_their_places():
    both = ConcatDataset([dataset(), dataset(ROTATE, ignore_index=12)], lazy_init=True)
    both._fully_initialized = True
    both.cumulative_sizes = [3, 6]
    (line,) = find_disagreements(segmentor(), [part("train", both)])
    assert "train_dataloader.dataset.datasets.1.ignore_index=11" in line
    assert "train_dataloader.dataset.datasets.1.pipeline.0.seg_pad_val=11" in line


@pytest.mark.parametrize(
    ("decode", "auxiliary", "named"),
    [
        (head(12), None, ["model.decode_head"]),
        (head(), head(12), ["model.auxiliary_head"]),
        (head(12), [head(), head(13)], ["model.decode_head", "model.auxiliary_head.1"]),
        ([head(), head(10)], None, ["model.decode_head.1"]),
    ],
)
def test_every_head_of_another_number_is_named(decode, auxiliary, named):
    (line,) = find_disagreements(segmentor(decode, auxiliary), [part(), part("val")])
    for name in named:
        assert f"{name}.num_classes is" in line
        assert f"{name}.num_classes=11" in line
    assert "and Roads has 11 classes: set" in line
    assert line.count("num_classes=11") == len(named)


def test_outputs_that_are_never_scored():
    """As many more as the config says, no other number; the line says how to say so."""

    def heads(count):
        return {"decode": head(count), "auxiliary": head(count)}

    kind = SlidingEncoderDecoder
    assert find_disagreements(segmentor(**heads(12), kind=kind, unscored_classes=1), [part()]) == []
    (line,) = find_disagreements(segmentor(**heads(12), kind=kind), [part()])
    assert "model.type=SlidingEncoderDecoder model.test_cfg.unscored_classes=1" in line
    (line,) = find_disagreements(segmentor(**heads(11), kind=kind, unscored_classes=1), [part()])
    assert "model.decode_head.num_classes=12 model.auxiliary_head.num_classes=12" in line


@pytest.mark.parametrize("name", ["train", "val"])
def test_no_images(name):
    empty = dataset()
    empty.__class__ = type("Empty", (BaseSegDataset,), {"__len__": lambda self: 0})
    (line,) = find_disagreements(segmentor(), [part(name, empty)])
    assert line.startswith(f"{name}_dataloader.dataset finds no images: look at its data_root")


class Other(IoUMetric):
    def compute_metrics(self, results):
        return {"mine": 1.0}


@pytest.mark.parametrize(
    ("save_best", "metrics", "named"),
    [
        ("mIoU", [IoUMetric()], None),
        ("auto", [IoUMetric()], None),
        (["mFscore", "mRecall"], [IoUMetric(iou_metrics=["mFscore"])], None),
        ("x/mDice", [IoUMetric(iou_metrics=["mDice"], prefix="x")], None),
        ("per_image/Dice_low", [IoUMetric(), PerImageMetric()], None),
        ("mine", [IoUMetric(), Other()], None),
        ("nope", [Other()], None),
        (None, [IoUMetric()], None),
        ("nope", [IoUMetric()], "'nope', which val_evaluator does not measure: give one of aAcc"),
        ("mDice", [IoUMetric()], "'mDice', which .* mIoU, mAcc"),
        ("Dice", [PerImageMetric()], "'Dice', which .* per_image/Dice, per_image/Jaccard"),
        ("mIoU", [IoUMetric(format_only=True)], "'mIoU', which .* give None"),
        (["mIoU", "a", "b"], [IoUMetric()], "'a', 'b', which"),
    ],
)
def test_save_best_names_what_is_measured(save_best, metrics, named):
    hook = CheckpointHook(save_best=save_best, rule="greater")
    found = find_unmeasured([hook], part("val", None, *metrics), None)
    assert len(found) == (named is not None)
    if named is not None:
        with pytest.raises(UserError, match=rf"default_hooks\.checkpoint\.save_best names {named}"):
            raise UserError(found[0])


def test_early_stopping_names_what_is_measured():
    """Scores of hooks count; two settings are two sentences."""
    stop = EarlyStoppingHook("val/loss")
    loss = SimpleNamespace(score_names=lambda segmentor: ["val/loss"])
    validation = part("val", None, IoUMetric(), ConfusionMetric())
    assert find_unmeasured([stop, loss], validation, None) == []
    save = CheckpointHook(save_best="val/lss", rule="less")
    first, second = find_unmeasured([stop, save], validation, None)
    assert first.startswith("early stopping names 'val/loss', which val_evaluator does not measure")
    assert first.endswith("give one of aAcc, mIoU, mAcc, or leave it out")
    assert "save_best names 'val/lss'" in second


def test_the_hook_tells_all_in_one_line():
    """Classes, labels and save_best, of training and validation, before anything runs."""

    def loop(data, *metrics):
        return SimpleNamespace(
            dataloader=SimpleNamespace(dataset=data), evaluator=SimpleNamespace(metrics=metrics)
        )

    runner = SimpleNamespace(
        model=segmentor(head(12)),
        hooks=[CheckpointHook(save_best="nope", rule="greater")],
        cfg={"val_evaluator": {}},
        train_loop=loop(dataset()),
        val_loop=loop(dataset(num_classes=12), IoUMetric()),
        test_loop=loop(dataset()),
    )
    with pytest.raises(UserError) as caught:
        ClassCheckHook().before_train(runner)
    for said in ("model.decode_head.num_classes=11", "val_evaluator.ignore_index=11", "'nope'"):
        assert said in str(caught.value)
    with pytest.raises(UserError, match=r"val_evaluator\.ignore_index"):
        ClassCheckHook().before_val(runner)
    with pytest.raises(UserError, match=r"num_classes=11"):
        ClassCheckHook().before_test(runner)
    runner.val_loop = None
    runner.model = segmentor()
    ClassCheckHook().before_train(runner)


def test_labels_of_a_cascade_are_checked():
    """OCRNet and PointRend have a list of decoding heads."""
    labels = SimpleNamespace(data=torch.tensor([[0, 11]]))
    sample = SimpleNamespace(gt_sem_seg=labels, metainfo={"seg_map_path": "0.png"})
    hook, model = ClassCheckHook(), segmentor([head(), head()])
    runner = SimpleNamespace(model=model)
    hook.before_train_iter(runner, 0, {"data_samples": [sample]})
    labels.data[0, 0] = 12
    with pytest.raises(UserError, match=r"label 12 in 0\.png is no class.* transform fills in"):
        hook.before_train_iter(runner, 0, {"data_samples": [sample]})
