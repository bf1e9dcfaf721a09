from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmseg_deepvit.engine import ClassCheckHook, unwrap_segmentor
from mmseg_deepvit.engine.class_check_hook import check_heads, label_outside
from mmseg_deepvit.errors import UserError


def segmentor(decode, auxiliary=None):
    model = nn.Module()
    model.num_classes = decode

    def head(num_classes):
        module = nn.Module()
        module.num_classes = num_classes
        module.ignore_index = 255
        return module

    model.decode_head = head(decode)
    if isinstance(auxiliary, list):
        model.auxiliary_head = nn.ModuleList([head(n) for n in auxiliary])
    elif auxiliary:
        model.auxiliary_head = head(auxiliary)
    return model


def dataset(num_classes):
    return SimpleNamespace(metainfo={"classes": tuple(map(str, range(num_classes)))})


@pytest.mark.parametrize("heads", [(3,), (3, 3), (3, [3, 3])])
def test_agreeing_heads_pass(heads):
    check_heads(segmentor(*heads), dataset(3))


@pytest.mark.parametrize(
    ("heads", "named"),
    [((4,), "decode_head"), ((3, 4), "auxiliary_head"), ((3, [3, 4]), r"auxiliary_head\.1")],
)
def test_a_head_of_another_number_is_named(heads, named):
    with pytest.raises(UserError, match=rf"model\.{named}.num_classes is 4 .* has 3 classes"):
        check_heads(segmentor(*heads), dataset(3))


def test_a_dataset_without_classes_passes():
    check_heads(segmentor(4), SimpleNamespace(metainfo={}))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 1, 2], None), ([0, 255], None), ([0, 3], 3), ([-1], -1), ([254, 255], 254), ([], None)],
)
def test_label_outside(labels, expected):
    assert label_outside(torch.tensor(labels, dtype=torch.long), 3, 255) == expected


def batch(*labels):
    samples = [
        SimpleNamespace(
            gt_sem_seg=SimpleNamespace(data=torch.tensor([[label]])),
            metainfo={"seg_map_path": f"{i}.png"},
        )
        for i, label in enumerate(labels)
    ]
    return {"data_samples": samples}


def test_a_label_that_is_no_class_names_its_file():
    runner = SimpleNamespace(model=segmentor(3))
    ClassCheckHook().before_train_iter(runner, 0, batch(0, 255, 2))
    with pytest.raises(UserError, match=r"label 7 in 1\.png is no class: the model has 3"):
        ClassCheckHook().before_train_iter(runner, 0, batch(0, 7))


def test_wrappers_are_taken_off():
    model = segmentor(3)
    tta = nn.Module()
    tta.module = model
    assert unwrap_segmentor(tta) is model
    assert unwrap_segmentor(model) is model
