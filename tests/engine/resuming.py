"""Small runs that are interrupted, and what must be the same in two checkpoints."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from mmseg_deepvit.command_line import load_config
from mmseg_deepvit.datasets.demo import write_demo_dataset

from ..conftest import ROOT

CONFIG = ROOT / "configs/upernet_deepvit_demo.py"
#: A DeepViT with BatchNorm of the maps and drop path, on crops of 64².
SMALL = {
    "model.data_preprocessor.size": (64, 64),
    "model.backbone.img_size": (64, 64),
    "model.backbone.embed_dims": 24,
    "model.backbone.num_heads": 2,
    "model.backbone.num_layers": 4,
    "model.backbone.num_mixing_layers": 2,
    "model.backbone.out_indices": (0, 1, 2, 3),
    "model.backbone.drop_path_rate": 0.3,
    "model.neck.embed_dim": 24,
    "model.decode_head.in_channels": (24, 24, 24, 24),
    "model.decode_head.channels": 8,
    "model.auxiliary_head.in_channels": 24,
    "model.auxiliary_head.channels": 8,
    "train_dataloader.dataset.pipeline.2.scale": (64, 64),
    "train_dataloader.dataset.pipeline.3.crop_size": (64, 64),
    "train_dataloader.batch_size": 2,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
    "param_scheduler.0.end": 4,
    "param_scheduler.1.begin": 4,
    "param_scheduler.1.end": 12,
    "train_cfg.max_iters": 10,
    "train_cfg.val_interval": 4,
    "default_hooks.logger.interval": 1,
    "default_hooks.checkpoint.interval": 3,
    "default_hooks.checkpoint.max_keep_ckpts": -1,
    "log_level": "ERROR",
}
DIVERSE = {
    "model.type": "DiverseEncoderDecoder",
    "model.diversity": dict(early="blocks.0", warmup_iters=8, patch_mix=dict(patch_size=8)),
}
AVERAGE = dict(ema_type="MomentumAnnealingEMA", momentum=0.1, gamma=10)  # tools/train.py --ema 0.1
EMA = {"custom_hooks": [dict(type="EMAHook", **AVERAGE)]}
#: What makes a training, by its part of the checkpoint.
PARTS = ("state_dict", "optimizer", "param_schedulers", "ema_state_dict")


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp("demo") / "data", 9, 2, size=64)


class Kill(Hook):
    """Ends a run amid an iteration, or in validation, as abruptly as it can in this process."""

    def __init__(self, iteration, in_validation):
        self.iteration, self.in_validation = iteration, in_validation

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.iteration and not self.in_validation:
            raise InterruptedError

    def after_val_iter(self, runner, *args, **kwargs):
        if runner.iter == self.iteration and self.in_validation:
            raise InterruptedError


def run_options(data, **options):
    paths = {f"{part}_dataloader.dataset.data_root": str(data) for part in ("train", "val", "test")}
    return {**SMALL, **paths, **options}


def make_runner(work_dir, data, resume=False, **options):
    """A runner of its own, as in a new process."""
    MessageHub._instance_dict.clear()
    Visualizer._instance_dict.clear()
    cfg = load_config(str(CONFIG), run_options(data, **options))
    cfg.work_dir, cfg.resume = str(work_dir), resume
    cfg.experiment_name = f"{work_dir.name}-{resume}"
    return Runner.from_cfg(cfg)


@contextmanager
def without_formatting():
    """Formatting the config takes longer than all else, in each checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        text = property(lambda cfg: f"randomness = {cfg.get('randomness')}")
        patch.setattr(Config, "pretty_text", text)
        yield


def train(work_dir, data, kill=None, resume=False, in_validation=False, **options):
    """Train, up to within an iteration if that is given; returns the last checkpoint's content."""
    runner = make_runner(work_dir, data, resume, **options)
    if kill is not None:
        runner.register_hook(Kill(kill, in_validation), "LOWEST")
    with pytest.raises(InterruptedError) if kill is not None else nullcontext():
        runner.train()
    for iterator in (runner.train_loop.dataloader_iterator, runner.val_dataloader._iterator):
        if hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()  # collected as garbage, they would be waited for
    return read_last(work_dir)


def read_last(work_dir):
    return torch.load((work_dir / "last_checkpoint").read_text(), weights_only=False)


def option_strings(options):
    """As ``--cfg-options`` takes them."""
    return [f"{key}={value}".replace(" ", "") for key, value in options.items()]


def differences(one, other, name=""):
    """Names of what differs, in nested dicts and lists of tensors and numbers."""
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{name}: {one.keys() ^ other.keys()}"]
        return [d for key in one for d in differences(one[key], other[key], f"{name}.{key}")]
    if isinstance(one, (list, tuple)) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        return [d for i, (a, b) in enumerate(pairs) for d in differences(a, b, f"{name}.{i}")]
    if isinstance(one, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [name]
    return [] if one == other else [name]


def losses(content):
    """Each iteration's losses as the message hub has them, by name."""
    scalars = content["message_hub"]["log_scalars"]
    return {
        name: buffer._log_history.tolist()
        for name, buffer in scalars.items()
        if isinstance(buffer, HistoryBuffer) and "loss" in name
    }


def assert_same_training(one, other):
    """Every tensor of model, average, optimiser and schedules, and every logged loss."""
    assert one["meta"]["iter"] == other["meta"]["iter"]
    assert [part in one for part in PARTS] == [part in other for part in PARTS]
    for part in PARTS:
        assert differences(one.get(part, {}), other.get(part, {}), part) == []
    assert np.array_equal(*(sorted(losses(content)) for content in (one, other)))
    assert losses(one) == losses(other)
    assert len(losses(one)["train/loss"]) == one["meta"]["iter"]
