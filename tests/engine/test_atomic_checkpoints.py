"""Kills, full disks and damaged files; tests/tools goes through tools/train.py."""

import errno
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmseg_deepvit import files
from mmseg_deepvit.engine.resuming import newest_checkpoint
from mmseg_deepvit.engine.resuming.newest_checkpoint import find_whole_checkpoint
from mmseg_deepvit.engine.saving.atomic_files import AtomicLocalBackend, write_atomically
from mmseg_deepvit.errors import CheckpointError, UserError

#: A run that keeps one checkpoint and saves in every iteration, most of its time.
TRAIN = """
import sys, torch
from mmengine.runner import Runner
from mmengine.model import BaseModel
from mmengine.logging import MMLogger
import mmseg_deepvit

class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.big = torch.nn.Parameter(torch.zeros(2_000_000))
    def forward(self, x, mode="loss"):
        return dict(loss=(self.big[:10] * x.mean()).sum())

hook = dict(type="mmseg.AtomicCheckpointHook", interval=1, max_keep_ckpts=1, by_epoch=False)
runner = Runner(
    Model(), sys.argv[1], train_dataloader=torch.utils.data.DataLoader(
        torch.ones(1000, 3), collate_fn=lambda rows: dict(x=torch.stack(rows))),
    train_cfg=dict(by_epoch=False, max_iters=100000), resume=False, log_level="ERROR",
    optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
    default_hooks=dict(checkpoint=hook), experiment_name="x",
)
runner.train()
"""


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def wait_for_checkpoints(folder, process, count=2):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        pointer = folder / "last_checkpoint"
        if pointer.is_file() and int(pointer.read_text()[:-4].rpartition("_")[2]) >= count:
            return
        time.sleep(0.01)
    raise AssertionError(process.stderr.read().decode()[-2000:] if process.poll() else "too slow")


SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed > 2 else []) for seed in range(30)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_kill_leaves_a_whole_checkpoint(seed, tmp_path):
    process = start(tmp_path)
    wait_for_checkpoints(tmp_path, process)
    time.sleep(random.Random(seed).uniform(0, 0.3))
    process.kill()
    process.wait()
    found = find_whole_checkpoint(tmp_path)
    assert found == (tmp_path / "last_checkpoint").read_text()
    content = torch.load(found, weights_only=False)
    assert content["meta"]["iter"] == int(Path(found).stem.removeprefix("iter_"))


def test_sigterm_saves_and_stops(tmp_path):
    process = start(tmp_path)
    wait_for_checkpoints(tmp_path, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    last = (tmp_path / "last_checkpoint").read_text()
    assert [p.name for p in tmp_path.glob("iter_*")] == [Path(last).name]
    assert find_whole_checkpoint(tmp_path) == last


def test_a_file_is_whole_or_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    AtomicLocalBackend().put(memoryview(b"old"), path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*make room.*--resume"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="needs a file size limit")
def test_a_full_disk(tmp_path):
    """A limit on the size of files stands in for it: the write itself fails midway."""
    code = (
        "import resource, signal, sys; from mmseg_deepvit.engine.saving.atomic_files import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "write_atomically(sys.argv[1], b'old'); resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9))\n"
        "try:\n    write_atomically(sys.argv[1], b'x' * 1000)\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "file"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "UserError" in result.stdout, result.stderr
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def save(path, **content):
    torch.save({"state_dict": {}, "optimizer": {}, "meta": {"iter": 1}, **content}, path)


def test_newest_whole_checkpoint(tmp_path, caplog):
    assert find_whole_checkpoint(tmp_path) is None
    for step in (8, 9, 10):
        save(tmp_path / f"iter_{step}.pth")
    save(tmp_path / "best_mIoU_iter_11.pth")
    assert find_whole_checkpoint(tmp_path) == str(tmp_path / "iter_10.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_9.pth"))
    assert find_whole_checkpoint(tmp_path) == str(tmp_path / "iter_9.pth")
    (tmp_path / "last_checkpoint").write_text("")
    content = (tmp_path / "iter_10.pth").read_bytes()
    (tmp_path / "iter_10.pth").write_bytes(content[: len(content) // 2])
    assert find_whole_checkpoint(tmp_path) == str(tmp_path / "iter_9.pth")
    torch.save({"state_dict": {}}, tmp_path / "iter_9.pth")
    assert find_whole_checkpoint(tmp_path) == str(tmp_path / "iter_8.pth")
    (tmp_path / "iter_8.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of the 3 checkpoints"):
        find_whole_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\0\x80", b"\0", b"x" * 5000, b"..", b"/", b"/elsewhere/iter_7.pth", None],
)
def test_a_damaged_pointer(tmp_path, content, monkeypatch):
    """The newest is taken, and a line says why."""
    said = []
    monkeypatch.setattr(newest_checkpoint, "print_log", lambda text, *arguments: said.append(text))
    save(tmp_path / "iter_8.pth")
    pointer = tmp_path / "last_checkpoint"
    if content is None:
        pointer.mkdir()
        with pytest.raises(CheckpointError, match=r"last_checkpoint is a folder.*; remove it"):
            find_whole_checkpoint(tmp_path)
        return
    pointer.write_bytes(content)
    assert find_whole_checkpoint(tmp_path) == str(tmp_path / "iter_8.pth")
    assert re.search("last_checkpoint (is empty|names no checkpoint there): looking", said[0])


def test_an_empty_folder_is_no_checkpoint(tmp_path):
    """One with files in it may be another strategy's."""
    (tmp_path / "iter_9.pth/below").mkdir(parents=True)
    save(tmp_path / "iter_8.pth")
    assert find_whole_checkpoint(tmp_path) == str(tmp_path / "iter_8.pth")
    (tmp_path / "iter_9.pth/below/mp_rank_00_model_states.pt").touch()
    assert find_whole_checkpoint(tmp_path) == str(tmp_path / "iter_9.pth")
