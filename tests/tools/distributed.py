"""Runs of several processes on one machine without a GPU."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

from ..conftest import ROOT

#: Seconds after which a run is taken to hang.
TIMEOUT = 240
#: A tiny DeepViT on the demo set; the maps' BatchNorm is synchronised, and so would be the heads'.
CONFIG = """
_base_ = "{root}/configs/upernet_deepvit_demo.py"
norm_cfg = dict(type="SyncBN")
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(
        num_layers=4, num_mixing_layers=2, out_indices=(0, 1, 2, 3), img_size=64,
        mix_norm_cfg=norm_cfg,
    ),
    neck=dict(norm_cfg=norm_cfg),
    decode_head=dict(channels=16, norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=16, norm_cfg=norm_cfg),
)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root="{data}")
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root="{data}"))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type="IoUMetric", iou_metrics=["mIoU"]),
    dict(type="PerImageMetric", classes=["lesion"], csv_path="auto", num_resamples=20),
]
test_evaluator = val_evaluator
param_scheduler = None
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval=1, max_keep_ckpts=2, save_best="mIoU")
)
"""


def free_port():
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(**variables):
    """This process' environment for the scripts, and variables beside."""
    ours = {"PYTHON": sys.executable, "PORT": free_port(), "OMP_NUM_THREADS": 1, **variables}
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", **{k: str(v) for k, v in ours.items()}}


@contextmanager
def started(*command, log, **variables):
    """Start a command in the repository; what it prints goes to a file. None outlives the block."""
    with open(log, "a") as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=environment(**variables),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            for pid in [*children(process.pid), process.pid]:
                os.kill(pid, signal.SIGKILL)
            process.wait()


def run_script(*command, log, **variables):
    """Run a command to its end; returns its status and all that the log holds."""
    with started(*command, log=log, **variables) as process:
        return process.wait(TIMEOUT), log.read_text()


def children(pid):
    """Numbers of the processes that a process has started, the first one first."""
    command = ["ps", "--ppid", str(pid), "--sort=start_time,pid", "-o", "pid="]
    result = subprocess.run(command, capture_output=True, text=True)
    return [int(line) for line in result.stdout.split()]


def wait_until_saved(work_dir, process, beyond=0):
    """Wait for a checkpoint of a later iteration."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if saved_iteration(work_dir) > beyond:
            return
        time.sleep(0.05)
    raise AssertionError(f"status {process.poll()}, saved {saved_iteration(work_dir)}")


def saved_iteration(work_dir):
    """The iteration of the last checkpoint; 0 without one."""
    pointer = work_dir / "last_checkpoint"
    name = pointer.read_text() if pointer.is_file() else "iter_0.pth"
    return int(name.removesuffix(".pth").rpartition("_")[2])
