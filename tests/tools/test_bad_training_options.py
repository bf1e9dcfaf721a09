"""Options that only show to be wrong when the runner is built, or in its first iteration."""

import pytest

from ..conftest import ROOT
from .conftest import tiny_options
from .test_bad_arguments import refusal

#: A second each.
WHILE_BUILDING = {
    "optim_wrapper.optimizer.lr=-1": "Invalid learning rate",
    "optim_wrapper.optimizer.lrr=1": "unexpected keyword argument 'lrr'",
    "train_dataloader.num_workers=-1": "num_workers option should be non-negative",
    "load_from={file}": "it is text, 'text'",
    "train_dataloader.dataset.pipeline.2.scale=(0,0)": "resize",
    "default_hooks.checkpoint.save_best=nope": "val_evaluator does not measure: give one of aAcc",
}
MORE_WHILE_BUILDING = {
    "optim_wrapper.optimizer.type=Nope": "config",
    "optim_wrapper.clip_grad.max_nrm=1": "max_nrm",
    "train_cfg.max_iters=1.5": "integer number",
    "train_cfg.max_iter=2": "unexpected keyword argument 'max_iter'",
    "train_cfg.type=Nope": "Nope is not in",
    "train_cfg=None": "should be either all None",
    "train_dataloader.batch_size=0": "positive integer",
    "train_dataloader.batchsize=1": "batchsize",
    "train_dataloader.dataset.type=Nope": "Nope is not in",
    "train_dataloader.dataset.part=Nope": "part must be one of",
    "train_dataloader.dataset.img_suffix=.png": "have no mask",
    "train_dataloader.dataset.pipeline.0.type=Nope": "Nope is not in",
    "train_dataloader.dataset.pipeline=[]": "begins with LoadImageFromFile",
    "train_dataloader.sampler.type=Nope": "Nope is not in",
    "val_evaluator=None": "should be either all None",
    "default_hooks.logger.interval=0": "greater than 0",
    "default_hooks.checkpont.interval=5": "config",
    "default_hooks.checkpoint.type=Nope": "Nope is not in",
    "randomness.sed=1": "sed",
    "randomness.seed=-1": "Seed must be",
    "load_from=": "path is empty",
    "log_level=LOUD": "LOUD",
    "custom_hooks.0.type=Nope": "Nope is not in",
    "param_scheduler.0.end=-3": "end should be larger",
    "model.decode_head.num_classes=3": "ISIC2018Dataset has 2 classes",
    "model.backbone.drop_path_rate=2": "drop_path_rate must be",
    "model.backbone.out_indices=(0,0,1,9)": "out_indices must name",
    "model.data_preprocessor.size=x": "config",
    "model.backbone.init_cfg.type=Pretrained": "checkpoint",
    "model.decode_head.loss_decode=3": "loss_decode must be",
    "model.decode_head.ignore_index=0": "train_dataloader.dataset.ignore_index=0",
    "model.decode_head.channels=0": "config",
    "visualizer.type=Nope": "Nope is not in",
    "runner_type=Nope": "Nope is not in",
}


def train(option, there, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    option = option.format(**vars(there))
    options = ["--cfg-options", *tiny_options(there.root), option]
    return refusal(
        monkeypatch, capsys, "train", [there.cfg, "--work-dir", tmp_path / "run", *options]
    )


@pytest.mark.parametrize("option", list(WHILE_BUILDING))
def test_refused_while_training_is_built(option, there, tmp_path, monkeypatch, capsys):
    assert WHILE_BUILDING[option] in train(option, there, tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("option", list(MORE_WHILE_BUILDING))
def test_more_refused_while_training_is_built(option, there, tmp_path, monkeypatch, capsys):
    assert MORE_WHILE_BUILDING[option] in train(option, there, tmp_path, monkeypatch, capsys)
