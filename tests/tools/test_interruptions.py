"""tools/train.py killed, asked to stop, and out of disk: real processes on small images."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from mmseg_deepvit.datasets.demo import write_demo_dataset
from mmseg_deepvit.engine import find_whole_checkpoint
from mmseg_deepvit.engine.checks.finite import find_not_finite

from ..conftest import ROOT
from ..engine.resuming import (
    EMA,
    assert_same_training,
    option_strings,
    read_last,
    run_options,
    train,
    without_formatting,
)
from .conftest import assert_one_line, run_tool

#: Diversity losses that warm up, PatchMix, BatchNorm of the maps, an average, workers.
OPTIONS = {
    "model.type": "DiverseEncoderDecoder",
    "model.diversity.early": "blocks.0",
    "model.diversity.warmup_iters": 20,
    "model.diversity.patch_mix.patch_size": 8,
    "train_dataloader.num_workers": 2,
    "train_dataloader.persistent_workers": True,
    "train_cfg.max_iters": 20,
    "train_cfg.val_interval": 10,
    "param_scheduler.1.end": 20,
    "default_hooks.checkpoint.interval": 6,
    "default_hooks.checkpoint.save_best": None,  # each file saved formats the config for a second
    "default_hooks.checkpoint.max_keep_ckpts": 1,
    "log_level": "INFO",
}
NO_WORKERS = {"train_dataloader.num_workers": 0, "train_dataloader.persistent_workers": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp("demo") / "data", 9, 12, size=64)


def command(work_dir, data, *flags, **options):
    options = run_options(data, **{**OPTIONS, **options})
    tool = ("tools/train.py", "configs/upernet_deepvit_demo.py", "--ema", "0.1")
    return [*tool, "--work-dir", work_dir, *flags, "--cfg-options", *option_strings(options)]


@contextmanager
def started(work_dir, data, **options):
    """A training in a process group of its own, whose lines can be read."""
    argv = [sys.executable, *map(str, command(work_dir, data, **options))]
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()


def read_until(process, part):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if part in line:
            return lines
    raise AssertionError("".join(lines[-30:]))


def resume(work_dir, data, **options):
    result = run_tool(*command(work_dir, data, "--resume", **options))
    assert result.returncode == 0, result.stderr[-3000:]
    return read_last(work_dir)


def uninterrupted(work_dir, data, **options):
    """The last checkpoint of a run in this process, without workers."""
    options = {**OPTIONS, **EMA, **options, "log_level": "ERROR"}
    with without_formatting():
        return train(work_dir, data, **{**options, **NO_WORKERS})


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    return uninterrupted(tmp_path_factory.mktemp("whole"), data)


def test_asked_to_stop(whole, data, tmp_path):
    """SIGTERM to all processes at once, workers too, as Slurm sends it; then exact resume."""
    with started(tmp_path, data) as process:
        read_until(process, "Iter(train) [ 7/20]")
        os.killpg(process.pid, signal.SIGTERM)
        lines = process.stdout.read()
        assert process.wait(120) == 143, lines[-3000:]
    assert "Stopped by SIGTERM; --resume goes on from" in lines
    assert "Traceback" not in lines
    assert 7 <= read_last(tmp_path)["meta"]["iter"] < 20
    assert_same_training(whole, resume(tmp_path, data))


def test_asked_to_stop_in_validation(data, tmp_path):
    """What was trained is saved, with the model's own weights and not the average's."""
    with started(tmp_path, data, **{"default_hooks.checkpoint.interval": 100}) as process:
        read_until(process, "Iter(val) [ 3/12]")
        process.send_signal(signal.SIGTERM)
        lines = process.stdout.read()
        assert process.wait(120) == 143, lines[-3000:]
    assert "Iter(val) [12/12]" not in lines
    content = read_last(tmp_path)
    assert content["meta"]["iter"] == 10
    assert [path.name for path in tmp_path.glob("*.pth")] == ["iter_10.pth"]
    options = {"train_cfg.max_iters": 10, "train_cfg.val_interval": 100}
    assert_same_training(uninterrupted(tmp_path / "alone", data, **options), content)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] * (seed > 0)) for seed in range(8)]
)
def test_killed(seed, whole, data, tmp_path):
    moments = random.Random(seed)
    with started(tmp_path, data) as process:
        read_until(process, f"Iter(train) [{moments.randint(7, 18):2d}/20]")
        time.sleep(moments.uniform(0, 1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert find_whole_checkpoint(tmp_path) is not None
    assert_same_training(whole, resume(tmp_path, data))


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1800k", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a tmpfs")
def test_the_disk_fills_up(small_disk, data):
    """What is saved stays, and one line says why it ends."""
    keep_all = {"default_hooks.checkpoint.max_keep_ckpts": -1}
    result = run_tool(*command(small_disk, data, **keep_all))
    saved = find_whole_checkpoint(small_disk)
    assert_one_line(result, "No space left on device", "make room", "--resume")
    assert saved is not None
    assert not list(small_disk.glob("*.part"))
    content = read_last(small_disk)
    assert 0 < content["meta"]["iter"] < 20
    assert str(small_disk / f"iter_{content['meta']['iter']}.pth") == saved


def test_a_run_that_diverges(data, tmp_path):
    """One line names iteration, loss, weight or layer, and images; what was saved is good."""
    options = {
        "optim_wrapper.optimizer.lr": 1e30,
        "optim_wrapper.clip_grad": None,
        "param_scheduler.0.start_factor": 1e-40,
        "default_hooks.checkpoint.interval": 1,
    }
    result = run_tool(*command(tmp_path, data, **options))
    assert_one_line(result, "error: iteration", "decode.loss_ce is nan", "finite", ".jpg", "clip")
    content = read_last(tmp_path)
    assert content["meta"]["iter"] >= 1
    assert find_not_finite(content["state_dict"]) is None
