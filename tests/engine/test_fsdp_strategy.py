"""Split models train as others do, on any number of processes."""

import copy
import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine._strategy import SingleDeviceStrategy
from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS
from torch.distributed.tensor import DTensor

from mmseg_deepvit.checkpoints import read_checkpoint
from mmseg_deepvit.engine import (
    FSDP2Strategy,
    check_hooks,
    claim,
    find_whole_checkpoint,
)
from mmseg_deepvit.engine.distributed import sharded_files
from mmseg_deepvit.engine.resuming.work_dirs import release
from mmseg_deepvit.errors import CheckpointError, UserError

from .test_data_parallel import CASES, batch

OPTIMIZER = dict(
    optimizer=dict(type="AdamW", lr=1e-2, weight_decay=0.1),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)


def prepare(folder, kind=FSDP2Strategy, launcher="pytorch", **options):
    settings = dict(launcher=launcher, randomness=dict(seed=0))
    strategy = kind(work_dir=str(folder), env_kwargs=settings, **options)
    model = MODELS.build(
        {**copy.deepcopy(CASES["deepvit"]), "test_cfg": ConfigDict(mode="whole")}
    ).double()
    scheduler = dict(type="LinearLR", start_factor=0.5, by_epoch=False, end=8)
    strategy.prepare(
        model,
        optim_wrapper=copy.deepcopy(OPTIMIZER),
        param_scheduler=scheduler,
        dispatch_kwargs=dict(max_iters=8),
    )
    return strategy


def train(strategy, steps, rank=0, world_size=1):
    """Steps on the images of a process."""
    model, wrapper = strategy.model.train(), strategy.optim_wrapper
    each = 4 // world_size
    for step in steps:
        images, samples = batch(slice(rank * each, (rank + 1) * each))
        losses = model(images + 0.1 * step, samples, mode="loss")
        wrapper.update_params(model.parse_losses(losses)[0])
        strategy.param_schedulers[0].step()


def save(strategy, path, step, **options):
    extra = {"meta": {"iter": step, "epoch": 0}, "message_hub": {}}
    strategy.save_checkpoint(str(path), extra_ckpt=extra, **options)


def logits(strategy, windows):
    """What an image scores that is tested through some windows, on average."""
    segmentor = strategy.model.eval()
    plain = segmentor.encode_decode
    images, samples = batch(slice(0, 1))
    segmentor.encode_decode = lambda *arguments: sum(plain(*arguments) for _ in range(windows))
    with torch.no_grad():
        (sample,) = segmentor(images, samples, mode="predict")
    segmentor.encode_decode = plain
    return sample.seg_logits.data / windows


def work(rank, folder, results, refusals):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    dist.init_process_group("gloo", init_method=f"file://{folder}/two", rank=rank, world_size=2)
    strategy = prepare(folder)
    strategy.resume(f"{folder}/iter_2.pth")
    train(strategy, [2], rank, 2)
    results[rank] = logits(strategy, windows=1 + rank)
    save(strategy, f"{folder}/best.pth", 3, save_optimizer=False)
    train(strategy, [3], rank, 2)
    save(strategy, f"{folder}/iter_4.pth", 4)
    if rank == 0:
        damage(folder)
    dist.barrier()
    with pytest.raises(CheckpointError) as error:
        strategy.resume(f"{folder}/damaged.pth")
    refusals[rank] = str(error.value)
    dist.destroy_process_group()


def damage(folder):
    """A copy of the last checkpoint with another byte in what the second process wrote."""
    path = Path(shutil.copytree(f"{folder}/iter_4.pth", f"{folder}/damaged.pth"), "__1_0.distcp")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A process group of this process."""
    folder = tmp_path_factory.mktemp("fsdp")
    dist.init_process_group("gloo", init_method=f"file://{folder}/one", rank=0, world_size=1)
    yield folder
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def runs(alone):
    """Two steps by one process, and two more by two processes, with validation in between."""
    strategy = prepare(alone)
    train(strategy, [0, 1])
    save(strategy, alone / "iter_2.pth", 2)
    manager = mp.Manager()
    results, refusals = manager.dict(), manager.dict()
    mp.spawn(work, (str(alone), results, refusals), nprocs=2)
    return alone, dict(results), dict(refusals)


@pytest.fixture
def whole(tmp_path):
    """The same without sharing anything out."""
    return prepare(tmp_path, SingleDeviceStrategy, launcher="none")


def assert_same(state, other):
    assert list(state) == list(other)
    for name, value in state.items():
        value = value.full_tensor() if isinstance(value, DTensor) else value
        torch.testing.assert_close(value, other[name], rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.timeout(300)
def test_from_one_process_to_two_and_back(runs, whole):
    folder, *_ = runs
    names = sorted(part.name for part in (folder / "iter_4.pth").iterdir())
    assert names == [".metadata", "__0_0.distcp", "__1_0.distcp", "rest.pth"]
    train(whole, range(4))
    gathered = read_checkpoint(folder / "iter_4.pth")
    assert_same(gathered["state_dict"], whole.model.state_dict())
    expected = whole.optim_wrapper.state_dict()
    for i, state in expected["state"].items():
        assert_same(gathered["optimizer"]["state"][i], state)
    assert gathered["optimizer"]["param_groups"][0]["lr"] == expected["param_groups"][0]["lr"]

    back = prepare(folder)
    assert back.resume(str(folder / "iter_4.pth"))["meta"]["iter"] == 4
    train(back, [4])
    train(whole, [4])
    assert_same(back.model.state_dict(), whole.model.state_dict())


@pytest.mark.timeout(300)
def test_validation_needs_no_equal_number_of_windows(runs, whole):
    """It would hang if blocks were collected for each of them."""
    folder, results, _ = runs
    train(whole, range(3))
    for result in results.values():
        torch.testing.assert_close(result, logits(whole, windows=1))
    best = read_checkpoint(folder / "best.pth")
    assert (folder / "best.pth").is_file()
    assert_same(best["state_dict"], whole.model.state_dict())
    assert "optimizer" not in best


@pytest.mark.timeout(300)
def test_damage_is_told_by_all_processes(runs):
    """Those that did not read it must not wait for the others."""
    _, _, refusals = runs
    assert refusals.keys() == {0, 1}
    assert all("__1_0.distcp is not as it was written" in said for said in refusals.values())


def test_a_file_of_one_process_is_gone_on_from(alone, whole, tmp_path):
    train(whole, [0, 1])
    save(whole, tmp_path / "iter_2.pth", 2)
    strategy = prepare(alone)
    strategy.resume(str(tmp_path / "iter_2.pth"))
    train(strategy, [2])
    train(whole, [2])
    assert_same(strategy.model.state_dict(), whole.model.state_dict())


def test_without_a_launcher(alone, whole, tmp_path):
    """A folder is read and a file is written by one process that shares nothing."""
    shared = prepare(alone)
    train(shared, [0])
    save(shared, tmp_path / "iter_1.pth", 1)
    dist.destroy_process_group()
    try:
        strategy = prepare(tmp_path, launcher="none")
        strategy.resume(str(tmp_path / "iter_1.pth"))
        train(strategy, [1])
        save(strategy, tmp_path / "iter_2.pth", 2)
    finally:
        dist.init_process_group(
            "gloo", init_method=f"file://{tmp_path}/again", rank=0, world_size=1
        )
    assert (tmp_path / "iter_2.pth").is_file()
    train(whole, [0, 1])
    assert_same(read_checkpoint(tmp_path / "iter_2.pth")["state_dict"], whole.model.state_dict())


def test_a_full_disk(alone, tmp_path, monkeypatch):
    strategy = prepare(alone)
    path = tmp_path / "iter_2.pth"
    save(strategy, path, 1)

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"No space left on device.*make room"):
            save(strategy, path, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["iter_2.pth"]
    assert read_checkpoint(path)["meta"]["iter"] == 1
    save(strategy, path, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["iter_2.pth"]
    assert find_whole_checkpoint(tmp_path) == str(path)
    assert read_checkpoint(path)["meta"]["iter"] == 2


class Killed(BaseException):
    """As abrupt as it can be in this process."""


@pytest.mark.parametrize(("renames", "left"), [(0, 1), (1, 1), (2, 2)])
def test_a_kill_while_a_folder_is_replaced(alone, tmp_path, monkeypatch, renames, left):
    """Before, between and after the two renames; the next run removes partly written files."""
    strategy = prepare(alone)
    path, done = tmp_path / "iter_2.pth", []
    save(strategy, path, 1)
    rename = Path.rename

    def counted(self, target):
        if Path(target).parent == tmp_path:
            if len(done) == renames:
                raise Killed
            done.append(target)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted)
        patch.setattr(sharded_files, "remove", lambda path: path.exists() and counted(path, path))
        with pytest.raises(Killed):
            save(strategy, path, 2)
    assert find_whole_checkpoint(tmp_path) == str(path)
    assert read_checkpoint(path)["meta"]["iter"] == left
    claim(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"iter_2.pth", ".lock"}
    release(tmp_path)


def test_units_that_are_none(alone):
    with pytest.raises(ValueError, match="names no module of the model: layers"):
        prepare(alone, units="layers")


def test_an_older_pytorch_is_named(alone, monkeypatch):
    monkeypatch.setattr(torch.distributed.fsdp, "FSDPModule", object)
    with pytest.raises(UserError, match=r"FSDP2Strategy needs PyTorch 2\.8 or newer"):
        prepare(alone)


def test_hooks_that_need_the_whole_model():
    hooks = [dict(type="ClassCheckHook"), dict(type="EMAHook")]
    check_hooks(Config(dict(custom_hooks=hooks)))
    with pytest.raises(UserError, match="EMAHook needs the full model"):
        check_hooks(Config(dict(custom_hooks=hooks, strategy=dict(type="FSDP2Strategy"))))
