from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmseg_deepvit.engine import ClassCheckHook, unwrap_segmentor
from mmseg_deepvit.engine.checks import class_check_hook
from mmseg_deepvit.engine.checks.class_check_hook import label_outside
from mmseg_deepvit.errors import UserError


def segmentor(num_classes):
    model = nn.Module()
    model.decode_head = nn.Module()
    model.num_classes = model.decode_head.num_classes = num_classes
    model.decode_head.ignore_index = 255
    return model


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


@pytest.mark.parametrize(
    ("trained", "said"),
    [
        (("skin", "Lesion"), ""),
        (("lesion", "skin"), "class 0 is 'lesion' in the checkpoint and 'skin' in the config's"),
        (("a", "b", "c"), ""),  # another number is an error of loading
        (None, ""),
    ],
)
def test_classes_that_changed_places_are_told(monkeypatch, trained, said):
    hook, told = ClassCheckHook(), []
    monkeypatch.setattr(ClassCheckHook, "_check", lambda *args: None)
    monkeypatch.setattr(class_check_hook, "print_log", lambda text, *args: told.append(text))
    meta = {} if trained is None else dict(dataset_meta=dict(classes=trained))
    hook.after_load_checkpoint(None, dict(meta=meta))
    dataset = SimpleNamespace(metainfo=dict(classes=("skin", "lesion")))
    hook.before_test(SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset)))
    assert [said in text for text in told] == [True] * bool(said)


def test_wrappers_are_taken_off():
    model = segmentor(3)
    tta = nn.Module()
    tta.module = model
    assert unwrap_segmentor(tta) is model
    assert unwrap_segmentor(model) is model
