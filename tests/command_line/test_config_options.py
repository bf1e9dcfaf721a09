from copy import deepcopy

import pytest
from mmengine.config import Config

from mmseg_deepvit.command_line.config_options import known_keys, merge_options
from mmseg_deepvit.errors import UserError


def config():
    return Config(
        dict(
            data_root="data/x",
            train_pipeline=[dict(type="LoadImageFromFile")],
            model=dict(type="EncoderDecoder", test_cfg=dict(mode="whole"), size=(8, 8)),
            optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.1)),
            train_dataloader=dict(dataset=dict(type="X", data_root="data/x", times=[1, 2])),
            train_cfg=dict(type="IterBasedTrainLoop", max_iters=9, val_interval=3),
            resume=False,
        )
    )


@pytest.mark.parametrize(
    "options",
    [
        {"optim_wrapper.optimizer.lr": 1e-3},
        {"optim_wrapper.clip_grad.max_norm": 1},
        {"model.backbone.num_layers": 3},
        {"model.size": 8},
        {"model.test_cfg.mode": "slide", "model.test_cfg.window_batch_size": 8},
        {"randomness.seed": 0, "resume": True, "load_from": "a.pth", "work_dir": "b"},
        {"train_pipeline": [dict(type="X")]},
        {"train_dataloader": None},
        {"resume": 1},
        {"model.test_cfg": {"_delete_": True, "mode": "whole"}},
        {"tta_model.type": "SegTTAModel", "compile": True, "default_hooks.timer": None},
    ],
)
def test_what_can_be_meant_is_merged_as_by_mmengine(options, capsys):
    cfg, expected = config(), config()
    merge_options(cfg, deepcopy(options))
    expected.merge_from_dict(deepcopy(options))
    assert cfg._cfg_dict == expected._cfg_dict
    assert ("warning" in capsys.readouterr().err) is ("train_pipeline" in options)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("optim_wraper.optimizer.lr", 1, "'optim_wraper': did you mean optim_wrapper"),
        ("radomness.seed", 1, "did you mean randomness"),
        ("zzz", 1, "nor the runner has a 'zzz'$"),
        ("", 1, "nor the runner has a ''"),
        ("model", 3, "a dict of settings .*set one of them"),
        ("train_cfg.max_iters", "many", "expected a number, it is 9 in the config"),
        ("resume", "no", "expected True or False, it is False"),
        ("model.dropout", float("nan"), "give a number"),
        ("train_cfg.max_iters", 0, "max_iters must be at least 1, got 0"),
        ("train_cfg.val_interval", -2, "val_interval must be at least 1, got -2"),
        ("train_dataloader.dataset.times.7", 1, "times.7: Index 7 exceeds"),
        ("train_dataloader.dataset.times.x", 1, "times.x: "),
        ("custom_imports.imports", "x", "set it there"),
    ],
)
def test_what_cannot_be_meant_is_one_line(key, value, said):
    with pytest.raises(UserError, match=said) as caught:
        merge_options(config(), {"work_dir": "x", key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("model.test_cfg.moed", "did you mean mode?"),
        ("train_cfg.max_iter", "did you mean max_iters?"),
        ("data_root", "is train_dataloader.dataset.data_root meant?"),
        ("train_pipeline.0.type", "only while it is read, so nothing changes"),
    ],
)
def test_what_may_change_nothing_is_a_warning(key, said, capsys):
    merge_options(config(), {key: "x"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: --cfg-options {key}")
    assert said in line


def test_known_keys_are_those_of_runners_and_tools():
    assert {"model", "randomness", "strategy", "tta_model", "test_pipeline"} <= known_keys()
    assert "data_root" not in known_keys()
