"""Stop at once where the classes of model and data disagree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.models import BaseSegmentor
from mmseg.registry import HOOKS
from torch import Tensor

from ..errors import UserError
from .seeding import unwrap_dataset


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Compare the heads' number of classes with the data's, and every label with it.

    Without it a wrong number of classes trains a useless model in silence (too many), or ends in an
    index error, on a GPU an unexplained device assertion (too few).

    Raises:
        UserError: The numbers differ, or a label is no class; the message names the head or the
            file.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the heads against the training set."""
        check_heads(unwrap_segmentor(runner.model), runner.train_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Check the heads against the validation set."""
        check_heads(unwrap_segmentor(runner.model), runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Check the heads against the test set."""
        check_heads(unwrap_segmentor(runner.model), runner.test_dataloader.dataset)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Check the labels of a batch, on the CPU, before they reach the device."""
        check_labels(unwrap_segmentor(runner.model), data_batch)

    def before_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """As in training: mmseg's metric passes over labels that are no class."""
        check_labels(unwrap_segmentor(runner.model), data_batch)

    before_test_iter = before_val_iter


def check_labels(segmentor: BaseSegmentor, data_batch: Mapping[str, Any] | None) -> None:
    """Look whether every label of a batch is a class or ignored.

    Args:
        segmentor: Its heads tell what labels there are.
        data_batch: As data loaders give it, of test-time augmentation too; images without labels
            are passed over.

    Raises:
        UserError: A label is neither; the message names the file.
    """
    ignore_index = getattr(_heads(segmentor)["decode_head"], "ignore_index", 255)
    num_classes = segmentor.num_classes
    for views in (data_batch or {}).get("data_samples", ()):
        sample = views[0] if isinstance(views, list | tuple) else views
        labels = getattr(sample, "gt_sem_seg", None)
        if labels is None:
            continue
        wrong = label_outside(labels.data, num_classes, ignore_index)
        if wrong is not None:
            raise UserError(
                f"label {wrong} in {sample.metainfo.get('seg_map_path')} is no class: the model "
                f"has {num_classes} (0 to {num_classes - 1}; {ignore_index} is ignored); mend the "
                "file, or set num_classes and the dataset to fit"
            )


def check_heads(segmentor: BaseSegmentor, dataset: Any) -> None:
    """Compare every head's ``num_classes`` with the dataset's classes.

    Args:
        segmentor: An ``EncoderDecoder`` or what has its heads.
        dataset: An mmengine dataset, or a wrapper of one.

    Raises:
        UserError: They differ.
    """
    dataset = unwrap_dataset(dataset)
    classes = dataset.metainfo.get("classes")
    for name, head in _heads(segmentor).items():
        if classes is not None and head.num_classes != len(classes):
            raise UserError(
                f"model.{name}.num_classes is {head.num_classes} and {type(dataset).__name__} has "
                f"{len(classes)} classes: set model.{name}.num_classes={len(classes)}"
            )


def label_outside(labels: Tensor, num_classes: int, ignore_index: int) -> int | None:
    """A label that is neither a class nor ignored, or None.

    Args:
        labels: Class indices of any shape, an integer type.
        num_classes: Classes are 0 to ``num_classes`` - 1.
        ignore_index: The label that is no class on purpose.
    """
    outside = torch.logical_or(labels < 0, labels >= num_classes)
    outside &= labels != ignore_index
    return int(labels[outside][0]) if outside.any() else None


def unwrap_segmentor(model: torch.nn.Module) -> BaseSegmentor:
    """The segmentor inside a distributed wrapper, a test-time augmentation model, or both."""
    inner: Any = model.module if is_model_wrapper(model) else model
    return getattr(inner, "module", inner)


def _heads(segmentor: BaseSegmentor) -> dict[str, Any]:
    """Heads by their name in the config; of a list, each by its index."""
    heads = {}
    for name in ("decode_head", "auxiliary_head"):
        head = getattr(segmentor, name, None)
        if isinstance(head, torch.nn.ModuleList):
            heads.update({f"{name}.{i}": part for i, part in enumerate(head)})
        elif head is not None:
            heads[name] = head
    return heads
