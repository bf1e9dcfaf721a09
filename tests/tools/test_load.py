"""Thousands of images and of iterations: memory, file handles and processes stay what they were.

Each tool runs as its own process, watched from outside. The short forms run by default; the long
ones (2000 images, 20,000 iterations) with ``make test-slow``.
"""

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mmseg_deepvit.datasets.demo import write_demo_dataset

from ..conftest import ROOT

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="reads memory from Linux's /proc"
)
CONFIG = "configs/linear_deepvit-w64-d12_isic2018-128x128.py"
INPUT = "ISIC2018_Task1-2_{}_Input"
TRUTH = "ISIC2018_Task1_{}_GroundTruth"
#: Growth of memory that is no leak: allocators grow in steps, and metrics keep some 4 KB an image.
#: Of 2000 images one label map each, kept between the middle and the end, would be 92 MB.
SLACK = 80 * 2**20


class Sample(NamedTuple):
    """A process and its children at one time."""

    memory: int
    handles: int
    processes: int


def sample(pid):
    """Private memory in bytes, open files, and number of processes of a tree."""
    tree = family(pid)
    memory = sum(private_bytes(member) for member in tree)
    return Sample(memory, len(os.listdir(f"/proc/{pid}/fd")), len(tree))


def family(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in family(int(child)))]


def private_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    lines = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return 1024 * int(lines[0].split()[1]) if lines else 0  # a child that has ended has none


def watch(log, *command, progress=lambda: 1.0):
    """Run a tool to its end; returns its samples behind 30 % of the way, and what it printed.

    ``progress`` says how far it is, 0 to 1.
    """
    samples = []
    with log.open("w") as file:
        command = [sys.executable, *map(str, command)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            if 0.3 < (done := progress()) < 1:
                with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                    samples.append((done, sample(process.pid)))
            time.sleep(0.1)
    text = log.read_text()
    assert process.returncode == 0, text[-3000:]
    return samples, text


def logged(log, kind):
    """How far mmengine's log of training or testing is."""

    def progress():
        steps = re.findall(rf"Iter\({kind}\) \[ *(\d+)/(\d+)\]", log.read_text())
        return int(steps[-1][0]) / int(steps[-1][1]) if steps else 0.0

    return progress


def assert_flat(samples):
    """What is there behind 65 % of the way is what was there before."""
    middle = [s for done, s in samples if done < 0.65]
    last = [s for done, s in samples if done >= 0.65]
    assert min(len(middle), len(last)) >= 3, f"too short to tell: {len(samples)} samples"
    for measure, slack in (("memory", SLACK), ("handles", 0), ("processes", 0)):
        before, after = (np.median([getattr(s, measure) for s in part]) for part in (middle, last))
        assert after <= before + slack, f"{measure} grew from {before:.0f} to {after:.0f}"


def many(folder, count):
    """A set in ISIC 2018's layout of so many validation pairs: hard links to 25 pictures."""
    write_demo_dataset(folder, num_train=16, num_val=25)
    for pattern, ending in ((INPUT, ".jpg"), (TRUTH, "_segmentation.png")):
        files = sorted((folder / pattern.format("Validation")).glob(f"*{ending}"))
        for i in range(count - len(files)):
            source = files[i % len(files)]
            os.link(source, source.with_name(f"ISIC_9{i:06d}{ending}"))
    return folder


def options(data, *more):
    parts = ("train", "val", "test")
    return [
        "--cfg-options",
        "model.backbone.arch.num_layers=2",
        *(f"{part}_dataloader.dataset.data_root={data}" for part in parts),
        *more,
    ]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Weights of one iteration."""
    folder = tmp_path_factory.mktemp("load")
    data = many(folder / "data", 25)
    short = ["train_cfg.max_iters=1", "default_hooks.checkpoint.interval=1"]
    watch(
        folder / "log",
        "tools/train.py",
        CONFIG,
        "--work-dir",
        folder / "run",
        *options(data, *short),
    )
    return folder / "run" / "iter_1.pth"


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_predicting_many_images(checkpoint, tmp_path, count):
    data, out = many(tmp_path / "data", count), tmp_path / "out"
    images = data / INPUT.format("Validation")
    command = ["tools/predict.py", images, "--config", CONFIG, "--checkpoint", checkpoint]
    samples, output = watch(
        *(tmp_path / "log", *command, "--out-dir", out, *options(data)),
        progress=lambda: len(list(out.glob("*_overlay.png"))) / count,
    )
    assert f"{count} of {count} images segmented" in output
    assert len(list(out.glob("*_labels.png"))) == count
    assert_flat(samples)


@pytest.mark.parametrize("count", [600, pytest.param(2000, marks=pytest.mark.slow)])
def test_testing_many_images(checkpoint, tmp_path, count):
    data, log = many(tmp_path / "data", count), tmp_path / "log"
    command = ["tools/test.py", CONFIG, checkpoint, "--work-dir", tmp_path / "test"]
    one = ["test_dataloader.batch_size=1", "default_hooks.logger.interval=20"]
    samples, output = watch(log, *command, *options(data, *one), progress=logged(log, "test"))
    assert f"Iter(test) [{count}/{count}]" in output
    assert_flat(samples)


@pytest.mark.parametrize("iterations", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_training_for_long(tmp_path, iterations):
    """Validations and checkpoints on the way, workers that stay."""
    data, log = many(tmp_path / "data", 25), tmp_path / "log"
    interval = iterations // 20
    more = [
        f"train_cfg.max_iters={iterations}",
        f"train_cfg.val_interval={interval}",
        f"default_hooks.checkpoint.interval={interval}",
        "default_hooks.checkpoint.max_keep_ckpts=2",
        "train_dataloader.batch_size=2",
        "train_dataloader.num_workers=2",
    ]
    command = ["tools/train.py", CONFIG, "--work-dir", tmp_path / "run", "--ema"]
    samples, _ = watch(log, *command, *options(data, *more), progress=logged(log, "train"))
    assert len(list((tmp_path / "run").glob("iter_*.pth"))) == 2
    assert_flat(samples)
