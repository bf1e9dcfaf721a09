"""Compare settings of model, data and metrics, which must agree, before the first iteration.

mmseg does not compare them: a disagreement ends in an index error after hours, or silently in other
scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import mmcv.transforms
import mmseg.datasets.transforms as transforms
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmseg.evaluation import IoUMetric
from mmseg.models import BaseSegmentor
from mmseg.models.losses import OhemCrossEntropy
from torch import nn

from ...evaluation import ConfusionMetric, PerImageMetric
from ...inference.sliding import scored_classes
from ..resuming.seeding import unwrap_dataset

#: Label that mmseg gives to pixels without a class.
_LEFT_OUT = 255
#: Name of early stopping in messages.
_EARLY = "early stopping"
#: Scores of ``IoUMetric`` for each of ``iou_metrics``, in addition to aAcc.
_IOU_SCORES = {
    "mIoU": ("mIoU", "mAcc"),
    "mDice": ("mDice", "mAcc"),
    "mFscore": ("mFscore", "mPrecision", "mRecall"),
}


class Part(NamedTuple):
    """Data set and metrics of training, validation or testing.

    Attributes:
        name: One of train, val and test.
        dataset: Data set of the dataloader.
        metrics: Metrics of the evaluator; none in training.
        several: Whether the config has a list of metrics.
    """

    name: str
    dataset: Any
    metrics: Sequence[BaseMetric] = ()
    several: bool = False

    def named_metrics(self) -> Iterator[tuple[str, BaseMetric]]:
        """Iterate over metrics and their places in the config."""
        for i, metric in enumerate(self.metrics):
            yield f"{self.name}_evaluator" + (f".{i}" if self.several else ""), metric

    def named_datasets(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the data sets inside all wrappers and their places in the config."""
        for place, dataset in _unwrap(self.dataset, f"{self.name}_dataloader.dataset"):
            if not hasattr(dataset, "dataset") and not hasattr(dataset, "datasets"):
                yield place, dataset

    def named_transforms(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the transforms of all data sets and their places in the config."""
        for place, dataset in _unwrap(self.dataset, f"{self.name}_dataloader.dataset"):
            yield from _transforms(getattr(dataset, "pipeline", None), f"{place}.pipeline")


class Setting(NamedTuple):
    """A setting that names a label to ignore.

    Attributes:
        option: Dotted key in the config.
        value: Label.
        kind: Class of the object that has the setting.
        may_be_class: Whether the label may be a class on purpose, to fill in or not to score.
    """

    option: str
    value: float
    kind: str
    may_be_class: bool = False


def find_disagreements(segmentor: BaseSegmentor, parts: Sequence[Part]) -> list[str]:
    """Find all disagreements of model, data and metrics.

    Args:
        segmentor: Segmentor with an ``EncoderDecoder``'s heads.
        parts: Parts of the run, with built data sets.

    Returns:
        A sentence for each kind of disagreement, with the options to set.
    """
    empty = [p.name for p in parts if hasattr(p.dataset, "__len__") and len(p.dataset) == 0]
    look = "finds no images: look at its data_root, data_prefix, ann_file and img_suffix"
    found = [f"{name}_dataloader.dataset {look}" for name in empty]
    return [*found, *_numbers_of_classes(segmentor, parts), *_ignored_labels(segmentor, parts)]


def find_unmeasured(hooks: Sequence[Any], validation: Part, segmentor: BaseSegmentor) -> list[str]:
    """Find scores of ``save_best`` and early stopping that nothing in the validation measures.

    Nothing is told if a metric is neither mmseg's ``IoUMetric`` nor ours: its scores are unknown.

    Args:
        hooks: Hooks of the runner.
        validation: Part of the run that validates.
        segmentor: Segmentor, for the names of its losses.

    Returns:
        A sentence for each setting that names such scores.
    """
    measured: list[str] = []
    for _, metric in validation.named_metrics():
        names = _measured(metric)
        if names is None:
            return []
        measured += names
    wanted: list[tuple[str, list[str]]] = []
    for hook in hooks:
        if hasattr(hook, "score_names"):  # one that adds scores
            measured += hook.score_names(segmentor)
        if isinstance(hook, CheckpointHook) and hook.save_best:
            wanted.append(("default_hooks.checkpoint.save_best", list(hook.save_best)))
        elif isinstance(hook, EarlyStoppingHook):
            wanted.append((_EARLY, [hook.monitor]))
    found = []
    for place, names in wanted:
        if missing := [name for name in names if name not in [*measured, "auto"]]:
            found.append(_unmeasured(place, missing, measured))
    return found


def _unmeasured(place: str, unmeasured: list[str], measured: list[str]) -> str:
    close = get_close_matches(unmeasured[0], measured, n=1, cutoff=0.7)
    means = [name for name in measured if "_" not in name.rpartition("/")[2]]
    shown = list(dict.fromkeys([*close, *means]))
    otherwise = "leave it out" if place == _EARLY else "give None"
    names = f"give one of {', '.join(shown)}, or {otherwise.removeprefix('give ')}"
    choice = names if shown else otherwise
    return (
        f"{place} names {', '.join(map(repr, unmeasured))}, which val_evaluator does not measure: "
        f"{choice}"
    )


def named_heads(segmentor: BaseSegmentor) -> dict[str, Any]:
    """Heads by their names in the config, with an index in a list."""
    heads: dict[str, Any] = {}
    for name in ("decode_head", "auxiliary_head"):
        head = getattr(segmentor, name, None)
        if isinstance(head, nn.ModuleList):
            heads.update({f"model.{name}.{i}": part for i, part in enumerate(head)})
        elif head is not None:
            heads[f"model.{name}"] = head
    return heads


def ignored_label(segmentor: BaseSegmentor) -> int | None:
    """The label that the last decoding head ignores; None for none."""
    heads = [head for name, head in named_heads(segmentor).items() if "decode_head" in name]
    return getattr(heads[-1], "ignore_index", _LEFT_OUT) if heads else _LEFT_OUT


def _numbers_of_classes(segmentor: BaseSegmentor, parts: Sequence[Part]) -> list[str]:
    """One line for each data set whose number of classes differs from a head's."""
    heads = named_heads(segmentor)
    unscored = getattr(segmentor, "num_classes", 0) - scored_classes(segmentor)
    lines: dict[str, None] = {}  # train and val mostly say the same
    for part in parts:
        dataset = unwrap_dataset(part.dataset)
        classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
        if classes is None:
            continue
        needed = len(classes) + unscored
        wrong = {
            name: head.num_classes
            for name, head in heads.items()
            if getattr(head, "num_classes", needed) != needed
        }
        if not wrong:
            continue
        have = " and ".join(f"{name}.num_classes is {number}" for name, number in wrong.items())
        options = " ".join(f"{name}.num_classes={needed}" for name in wrong)
        remedy = f"set {options}"
        if unscored:
            remedy += f" (of which model.test_cfg.unscored_classes={unscored} are never scored)"
        elif len(wrong) == len(heads) and set(wrong.values()) == {needed + 1}:
            remedy += (
                ", or, if the last one is never to be scored, model.type=SlidingEncoderDecoder "
                "model.test_cfg.unscored_classes=1"
            )
        lines[f"{have}, and {type(dataset).__name__} has {len(classes)} classes: {remedy}"] = None
    return list(lines)


def _ignored_labels(segmentor: BaseSegmentor, parts: Sequence[Part]) -> list[str]:
    """One line if not all settings ignore the same label."""
    data = [setting for part in parts for setting in _dataset_settings(part)]
    heads = list(_head_settings(segmentor))
    meant = _meant(data, heads)
    if meant is None:
        return []
    num_classes = scored_classes(segmentor)
    preprocessor = getattr(segmentor, "data_preprocessor", None)
    others = list(_number("model.data_preprocessor", preprocessor, "seg_pad_val", True))
    for settings in (_pipeline_settings, _metric_settings):
        others += [setting for part in parts for setting in settings(part)]
    wrong = {
        setting.option: setting
        for setting in [*data, *heads, *others]
        if setting.value != meant.value
        and not (setting.may_be_class and 0 <= setting.value < num_classes)
    }
    if not wrong:
        return []
    listed = ", ".join(f"{s.option} ({s.kind}) {s.value}" for s in wrong.values())
    options = " ".join(f"{option}={meant.value}" for option in wrong)
    return [
        f"label {meant.value} is to be ignored ({meant.option}), and others have another: "
        f"{listed}; set --cfg-options {options}"
    ]


def _meant(data: Sequence[Setting], heads: Sequence[Setting]) -> Setting | None:
    """The setting that the others must follow.

    A label other than mmseg's default was set on purpose. Only a label that loading itself writes
    goes before it.
    """
    written = [s for s in data if not s.option.endswith("ignore_index")]
    given = [s for s in [*data, *heads] if s.value != _LEFT_OUT]
    return next(iter([*written, *given, *data, *heads]), None)


def _number(place: str, owner: Any, name: str, may_be_class: bool = False) -> Iterator[Setting]:
    """The setting in an attribute, if the attribute is a number."""
    value = getattr(owner, name, None)
    if isinstance(value, int | float):
        yield Setting(f"{place}.{name}", value, type(owner).__name__, may_be_class)


def _dataset_settings(part: Part) -> Iterator[Setting]:
    for place, dataset in part.named_datasets():
        kind = type(dataset).__name__
        if getattr(dataset, "reduce_zero_label", False):
            yield Setting(f"{place}.reduce_zero_label", _LEFT_OUT, kind)
        if _LEFT_OUT in (getattr(dataset, "label_map", None) or {}).values():
            yield Setting(f"{place}.metainfo.classes", _LEFT_OUT, kind)
        yield from _number(place, dataset, "ignore_index")


def _head_settings(segmentor: BaseSegmentor) -> Iterator[Setting]:
    """Settings of heads, and of the only loss that names a label itself.

    ``ignore_index`` of Dice, Tversky and Hausdorff losses is a class to leave out, not a label.
    """
    for name, head in named_heads(segmentor).items():
        yield from _number(name, head, "ignore_index")
        losses = getattr(head, "loss_decode", None)
        several = isinstance(losses, nn.ModuleList)
        for i, loss in enumerate(losses if isinstance(losses, nn.ModuleList) else [losses]):
            if isinstance(loss, OhemCrossEntropy):
                place = f"{name}.loss_decode" + (f".{i}" if several else "")
                yield from _number(place, loss, "ignore_label")


def _pipeline_settings(part: Part) -> Iterator[Setting]:
    """Labels that transforms fill into label maps, or ignore."""
    for place, transform in part.named_transforms():
        if isinstance(transform, transforms.RandomRotate | transforms.RandomMosaic):
            yield from _number(place, transform, "seg_pad_val", True)
        elif isinstance(transform, mmcv.transforms.Pad):
            fill = transform.pad_val.get("seg", _LEFT_OUT)
            yield Setting(f"{place}.pad_val.seg", fill, type(transform).__name__, True)
        elif isinstance(transform, transforms.RandomCutOut):
            yield from _number(place, transform, "seg_fill_in", True)
        elif isinstance(transform, transforms.GenerateEdge) or (
            # At a ratio of 1 it does not look at labels.
            isinstance(transform, transforms.RandomCrop) and transform.cat_max_ratio < 1
        ):
            yield from _number(place, transform, "ignore_index")


def _metric_settings(part: Part) -> Iterator[Setting]:
    for place, metric in part.named_metrics():
        if isinstance(metric, ConfusionMetric | IoUMetric | PerImageMetric):
            yield from _number(place, metric, "ignore_index", True)


def _measured(metric: BaseMetric) -> list[str] | None:
    """Names of a metric's scores, or None where they are not known."""
    if isinstance(metric, ConfusionMetric | PerImageMetric):
        names = metric.score_names()
    elif type(metric).compute_metrics is IoUMetric.compute_metrics:
        wanted = [metric.metrics] if isinstance(metric.metrics, str) else metric.metrics
        names = ["aAcc", *(name for key in wanted for name in _IOU_SCORES.get(key, ()))]
        names = [] if metric.format_only else list(dict.fromkeys(names))
    else:
        return None
    return [f"{metric.prefix}/{name}" if metric.prefix else name for name in names]


def _unwrap(dataset: Any, place: str) -> Iterator[tuple[str, Any]]:
    """A data set, then the data sets in it, with their places in the config."""
    dataset = unwrap_dataset(dataset)
    yield place, dataset
    if hasattr(dataset, "dataset"):
        yield from _unwrap(dataset.dataset, f"{place}.dataset")
    for i, inner in enumerate(getattr(dataset, "datasets", ())):
        yield from _unwrap(inner, f"{place}.datasets.{i}")


def _transforms(pipeline: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Transforms, also inside other transforms, with their places in the config."""
    steps = pipeline if isinstance(pipeline, list | tuple) else getattr(pipeline, "transforms", ())
    for i, step in enumerate(steps):
        inner = getattr(step, "transforms", None)
        if type(step).__name__ == "Compose" or isinstance(step, list | tuple):
            yield from _transforms(step, f"{place}.{i}")
        else:
            yield f"{place}.{i}", step
            if inner is not None:
                yield from _transforms(inner, f"{place}.{i}.transforms")


def parts_of(runner: Any, names: Sequence[str]) -> list[Part]:
    """The parts that a runner has, of those named train, val or test; builds their loops."""
    parts = []
    for name in names:
        loop = getattr(runner, f"{name}_loop")
        if loop is None:
            continue
        metrics = getattr(getattr(loop, "evaluator", None), "metrics", ())
        config: Mapping[str, Any] = runner.cfg
        several = isinstance(config.get(f"{name}_evaluator"), list | tuple)
        parts.append(Part(name, loop.dataloader.dataset, metrics, several))
    return parts
