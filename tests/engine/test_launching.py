import os
import re

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmseg_deepvit.attention.sync_norm import SyncMapNorm
from mmseg_deepvit.engine import join_processes
from mmseg_deepvit.engine.distributed.launching import revert_on_cpus
from mmseg_deepvit.errors import UserError

SLURM = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_NODELIST": "node[1-2]"}
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


@pytest.fixture
def no_scontrol(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def refusal(monkeypatch, launcher, variables):
    """What is said of a launcher that has set some variables."""
    for name in (*SLURM, *TORCHRUN, "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as error:
        join_processes(Config(dict(launcher=launcher)))
    return str(error.value)


@pytest.mark.parametrize(
    ("launcher", "variables", "message"),
    [
        ("pytorch", {}, r"RANK, WORLD_SIZE, LOCAL_RANK.*tools/dist_train.sh or torchrun"),
        ("pytorch", TORCHRUN, "needs MASTER_ADDR"),
        ("mpi", {"OMPI_COMM_WORLD_RANK": "0"}, "OMPI_COMM_WORLD_SIZE.*start with mpirun"),
        ("slurm", {}, "SLURM_PROCID, SLURM_NTASKS, SLURM_NODELIST.*start with srun"),
        ("slurm", SLURM, r"no scontrol to read 'node\[1-2\]' with: set MASTER_ADDR"),
    ],
)
def test_what_a_launcher_has_not_set(monkeypatch, no_scontrol, launcher, variables, message):
    assert re.search(message, refusal(monkeypatch, launcher, variables))


def test_slurm_needs_no_scontrol_where_the_first_machine_is_named(monkeypatch, no_scontrol):
    """The remedy that the error names works."""
    for name in TORCHRUN:
        monkeypatch.setenv(name, "")
    for name, value in {**SLURM, "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    joined = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda *_, **__: joined.append(dict(os.environ))
    )
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    package = "mmseg_deepvit.engine.distributed.launching"
    monkeypatch.setattr(f"{package}.set_multi_processing", lambda **_: None)
    join_processes(Config(dict(launcher="slurm")))
    assert joined[0]["MASTER_ADDR"] == "node1"
    assert (joined[0]["RANK"], joined[0]["WORLD_SIZE"]) == ("0", "1")


def test_machines_that_slurm_does_not_know(monkeypatch, no_scontrol):
    scontrol = no_scontrol / "scontrol"
    scontrol.write_text("#!/bin/sh\necho 'Invalid hostlist' >&2\nexit 1\n")
    scontrol.chmod(0o755)
    said = refusal(monkeypatch, "slurm", SLURM)
    assert "scontrol knows no machines 'node[1-2]' (Invalid hostlist): set MASTER_ADDR" in said


def test_restarts_that_would_hang(monkeypatch):
    variables = {"TORCHELASTIC_MAX_RESTARTS": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    said = refusal(monkeypatch, "pytorch", {**TORCHRUN, **variables})
    assert "RESTARTS=… tools/dist_train.sh" in said


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    variables = {**TORCHRUN, "LOCAL_RANK": "2", "MASTER_ADDR": "127.0.0.1"}
    assert "process 2 of this machine has no GPU: it has 2" in refusal(
        monkeypatch, "pytorch", variables
    )


def test_nothing_is_done_without_a_launcher():
    before = dict(os.environ)
    cfg = Config(dict(launcher="none"))
    join_processes(cfg)
    assert cfg.to_dict() == dict(launcher="none")
    assert dict(os.environ) == before
    assert not torch.distributed.is_initialized()


def test_norms_of_maps_stay_synchronised():
    norms = nn.Sequential(nn.SyncBatchNorm(3), SyncMapNorm(3), nn.LayerNorm(3))
    kinds = [type(norm) for norm in revert_on_cpus(norms)]
    assert not issubclass(kinds[0], nn.SyncBatchNorm)
    assert kinds[1:] == [SyncMapNorm, nn.LayerNorm]
