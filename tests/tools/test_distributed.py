"""Two processes on a CPU, as a user starts them: torchrun's scripts, Slurm, stops and kills."""

import csv
import json
import os
import shutil
import signal
import sys
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest
import torch

from mmseg_deepvit.checkpoints import read_checkpoint
from mmseg_deepvit.datasets.demo import write_demo_dataset

from ..conftest import ROOT
from .conftest import call_tool
from .distributed import (
    CONFIG,
    TIMEOUT,
    children,
    free_port,
    run_script,
    saved_iteration,
    started,
    wait_until_saved,
)

pytestmark = pytest.mark.timeout(600)
MANY = ("--cfg-options", "train_cfg.max_iters=100000", "train_cfg.val_interval=100000")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A config on five validation images, which two processes cannot share evenly."""
    folder = tmp_path_factory.mktemp("config")
    data = write_demo_dataset(folder / "data", 12, 5, size=64)
    path = folder / "tiny.py"
    path.write_text(CONFIG.format(root=ROOT, data=data))
    return path


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    """Two iterations by two processes, with a moving average and measures of collapse."""
    folder = tmp_path_factory.mktemp("trained")
    options = ("--work-dir", folder / "run", "--ema", "--collapse", "1")
    status, log = run_script("tools/dist_train.sh", config, 2, *options, log=folder / "log")
    assert status == 0, log[-3000:]
    return SimpleNamespace(work_dir=folder / "run", log=log)


def test_training_by_two_processes(trained):
    """One of them writes and logs; what needs a GPU is replaced, in one line."""
    assert trained.log.count("Iter(train) [2/2]") == 1
    assert trained.log.count("no GPU: 2 processes train on CPUs and talk through gloo") == 1
    assert trained.log.count("no GPU: 13 SyncBN layers are BN") == 1
    assert trained.log.count("Saving checkpoint at 2 iterations") == 1
    assert trained.log.count("collapse") > 0
    names = sorted(path.name for path in trained.work_dir.glob("*.pth"))
    assert names == ["best_mIoU_iter_2.pth", "iter_1.pth", "iter_2.pth"]
    saved = read_checkpoint(trained.work_dir / "iter_2.pth")
    assert saved["meta"]["iter"] == 2
    assert not any(name.startswith("module.") for name in saved["state_dict"])
    assert len(list(trained.work_dir.glob("*/*.log"))) == 1


def test_a_short_moving_average_forgets_its_start(trained):
    name = "decode_head.conv_seg.weight"
    first, last = (read_checkpoint(trained.work_dir / f"iter_{i}.pth") for i in (1, 2))
    before, after = (saved["ema_state_dict"][f"module.{name}"] for saved in (first, last))
    assert not torch.equal(before, after)
    torch.testing.assert_close(last["state_dict"][name], before.lerp(after, 10 / 11))


def scores_of(work_dir):
    """All scores, and the rows of the table by image."""
    (scores,) = work_dir.glob("2*/*.json")
    (table,) = work_dir.glob("2*/per_image.csv")
    with table.open() as file:
        rows = list(csv.reader(file))
    return json.loads(scores.read_text()), rows


def test_each_image_counts_once(trained, config, tmp_path, monkeypatch):
    """Of five images one process has three and one two, and then one of the others' again."""
    checkpoint = trained.work_dir / "iter_2.pth"
    status, log = run_script(
        *("tools/dist_test.sh", config, checkpoint, 2, "--work-dir", tmp_path / "two"),
        log=tmp_path / "log",
    )
    assert status == 0, log[-3000:]
    call_tool(monkeypatch, "tools/test.py", config, checkpoint, "--work-dir", tmp_path / "one")
    (two, rows), (one, rows_of_one) = (scores_of(tmp_path / name) for name in ("two", "one"))
    assert len({row[0] for row in rows[1:]}) == len(rows) - 1 == 5
    assert rows == rows_of_one
    times = {"time", "data_time"}
    assert {k: v for k, v in two.items() if k not in times} == pytest.approx(
        {k: v for k, v in one.items() if k not in times}
    )


@contextmanager
def started_by_slurm(folder, *options):
    """Two processes with the variables that srun sets; a ``scontrol`` knows one machine."""
    scontrol = folder / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[1-2]" ] && echo 127.0.0.1\n')
    scontrol.chmod(0o755)
    variables = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_NTASKS": 2,
        "SLURM_NODELIST": "node[1-2]",
        "MASTER_PORT": free_port(),
    }
    command = (sys.executable, "tools/train.py", *options, "--launcher", "slurm")
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                started(*command, log=folder / f"{i}", SLURM_PROCID=i, SLURM_LOCALID=i, **variables)
            )
            for i in (0, 1)
        ]


def test_slurm_resumes_and_stops_on_sigterm(trained, config, tmp_path):
    """The warning of a scheduler reaches one process, and all save and leave with status 143."""
    work_dir = shutil.copytree(trained.work_dir, tmp_path / "run")
    (work_dir / "last_checkpoint").write_text(str(work_dir / "iter_2.pth"))
    options = (config, "--work-dir", work_dir, "--ema", "--resume", *MANY)
    with started_by_slurm(tmp_path, *options) as processes:
        wait_until_saved(work_dir, processes[0], beyond=2)
        processes[1].send_signal(signal.SIGTERM)
        assert [process.wait(TIMEOUT) for process in processes] == [143, 143]
    logs = [(tmp_path / f"{i}").read_text() for i in (0, 1)]
    assert "resumed epoch: 0, iter: 2" in logs[0]
    assert "Stopped by SIGTERM; --resume goes on from" in logs[0]
    assert "Traceback" not in logs[0] + logs[1]
    last = saved_iteration(work_dir)
    assert f"Iter(train) [     {last}/100000]" in logs[0]
    assert read_checkpoint(work_dir / f"iter_{last}.pth")["meta"]["iter"] == last


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_started_anew(rank, config, tmp_path):
    """All go on from the last checkpoint, and so does the same command in the end."""
    work_dir, log = tmp_path / "run", tmp_path / "log"
    command = ("tools/dist_train.sh", config, 2, "--work-dir", work_dir)
    with started(*command, *MANY, log=log, RESTARTS=1) as process:
        wait_until_saved(work_dir, process)
        before = saved_iteration(work_dir)
        os.kill(children(process.pid)[rank], signal.SIGKILL)
        wait_until_saved(work_dir, process, beyond=before + 5)
        assert log.read_text().count("a run with restarts goes on from") == 1
        assert log.read_text().count("Iter(train) [     1/100000]") == 1
        os.kill(children(process.pid)[rank], signal.SIGKILL)
        assert process.wait(TIMEOUT) == 1  # one restart was allowed
    last = saved_iteration(work_dir)
    options = ("--cfg-options", f"train_cfg.max_iters={last + 1}", "train_cfg.val_interval=100000")
    status, text = run_script(*command, *options, log=log, RESTARTS=1)
    assert status == 0, text[-3000:]
    assert f"Iter(train) [{last + 1}/{last + 1}]" in text


@contextmanager
def started_machines(config, work_dir, folder, *options, **variables):
    """Two agents of torchrun, each with a process, that meet over the loopback."""
    port = free_port()
    command = ("tools/dist_train.sh", config, 1, "--work-dir", work_dir, *options)
    ours = {"NNODES": 2, "MASTER_ADDR": "127.0.0.1", "PORT": port, **variables}
    with ExitStack() as stack:
        yield [
            stack.enter_context(started(*command, log=folder / f"{i}", NODE_RANK=i, **ours))
            for i in (0, 1)
        ]


def texts(folder):
    """What the processes of two machines have printed."""
    return [(folder / f"{i}").read_text() for i in (0, 1)]


@pytest.mark.slow
def test_two_machines(config, tmp_path):
    with started_machines(config, tmp_path / "run", tmp_path) as machines:
        assert [machine.wait(TIMEOUT) for machine in machines] == [0, 0]
    logs = texts(tmp_path)
    assert [log.count("Iter(train) [2/2]") for log in logs] == [1, 0]
    assert "no GPU: 2 processes" in logs[0]
    assert saved_iteration(tmp_path / "run") == 2


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_two_machines_of_which_one_loses_its_process(which, config, tmp_path):
    """Both meet anew and go on from the last checkpoint."""
    work_dir = tmp_path / "run"
    with started_machines(config, work_dir, tmp_path, *MANY, RESTARTS=3) as machines:
        wait_until_saved(work_dir, machines[0])
        before = saved_iteration(work_dir)
        os.kill(children(machines[which].pid)[0], signal.SIGKILL)
        wait_until_saved(work_dir, machines[0], beyond=before + 5)
        assert "".join(texts(tmp_path)).count("a run with restarts goes on from") == 1
        for machine in machines:
            machine.send_signal(signal.SIGTERM)
        assert all(machine.wait(TIMEOUT) for machine in machines)
    assert "".join(texts(tmp_path)).count("Stopped by SIGTERM; --resume goes on from") == 1
