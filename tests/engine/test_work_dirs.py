"""Whose files are whose: copied folders, hostile checkpoints, two runs in one folder."""

import errno
import os
import shutil
import signal
import time

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import find_latest_checkpoint

from mmseg_deepvit.engine import check_unused, claim
from mmseg_deepvit.engine.resuming import work_dirs
from mmseg_deepvit.engine.resuming.work_dirs import LOCK
from mmseg_deepvit.errors import CheckpointError, UserError
from mmseg_deepvit.files import part_of

from .tiny import Model, make_tiny, names, train_tiny

RISING = dict(Dice=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
TWO = dict(Dice=[0.1, 0.2, 0.1, 0.1, 0.9, 0.1], mIoU=[0.5, 0.1, 0.6, 0.1, 0.1, 0.7])


def tree(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def change_hub(path, target=None, **info):
    """A checkpoint whose message hub says something else."""
    content = torch.load(path, weights_only=False)
    content["message_hub"]["runtime_info"].update(info)
    content["message_hub"]["resumed_keys"].update(dict.fromkeys(info, True))
    torch.save(content, target or path)


@pytest.mark.parametrize("saved_before", [False, True], ids=["names", "full paths"])
def test_a_copy_is_a_run_of_its_own(tmp_path, saved_before):
    """Earlier versions wrote full paths, of which the names count."""
    train_tiny(tmp_path / "run", 4, RISING)
    best = tmp_path / "run/best_Dice_iter_4.pth"
    if saved_before:
        change_hub(tmp_path / "run/iter_4.pth", best_ckpt=str(best))
    copy = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    before = tree(tmp_path / "run")
    (tmp_path / "run/iter_4.pth").rename(tmp_path / "run/gone")
    content = train_tiny(copy, 6, RISING, resume=True)
    (tmp_path / "run/gone").rename(tmp_path / "run/iter_4.pth")
    assert tree(tmp_path / "run") == before
    assert find_latest_checkpoint(str(copy)) == str(copy / "iter_6.pth")
    assert names(copy) == ["best_Dice_iter_6.pth", "iter_5.pth", "iter_6.pth"]
    assert content["message_hub"]["runtime_info"]["best_ckpt"] == "best_Dice_iter_6.pth"


def test_the_best_of_several_scores(tmp_path):
    """Each has its own file, which the better one takes away when it is there."""
    train_tiny(tmp_path, 3, TWO)
    kept = ["iter_2.pth", "iter_3.pth"]
    assert names(tmp_path) == ["best_Dice_iter_2.pth", "best_mIoU_iter_3.pth", *kept]
    train_tiny(tmp_path, 6, TWO, resume=True)
    kept = ["iter_5.pth", "iter_6.pth"]
    assert names(tmp_path) == ["best_Dice_iter_5.pth", "best_mIoU_iter_6.pth", *kept]


def test_another_runs_checkpoint_is_gone_on_from(tmp_path):
    """Its best file and its numbered ones stay, and so does what has their names here."""
    train_tiny(tmp_path / "run", 4, RISING)
    before = tree(tmp_path / "run")
    options = dict(resume=True, load_from=str(tmp_path / "run/iter_4.pth"))
    train_tiny(tmp_path / "new", 6, RISING, **options)
    assert tree(tmp_path / "run") == before
    assert names(tmp_path / "new") == ["best_Dice_iter_6.pth", "iter_5.pth", "iter_6.pth"]
    with pytest.raises(UserError, match="holds checkpoints of an earlier run"):
        train_tiny(tmp_path / "new", 8, RISING, **options)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        *("{0}", "{0}/best_Dice_iter_1.pth", "../victim/best_Dice_iter_1.pth"),
        *("precious.pth", "iter_9.pth", "link"),
    ],
)
def test_what_a_hostile_checkpoint_names_stays(tmp_path, name, inside):
    """Folders, files elsewhere, links, and files in the run's folder with other names."""
    victim, run = tmp_path / "victim", tmp_path / "run"
    (victim / "below").mkdir(parents=True)
    for path in (victim / "best_Dice_iter_1.pth", victim / "below/file"):
        path.write_text("precious")
    train_tiny(tmp_path / "source", 2, RISING)
    run.mkdir()
    for mine in ("precious.pth", "iter_9.pth"):
        (run / mine).write_text("precious")
    (run / "iter_1.pth").symlink_to(victim / "below/file")
    (run / "best_Dice_iter_2.pth").symlink_to(victim, target_is_directory=True)
    before = tree(victim)
    named = "best_Dice_iter_2.pth" if name == "link" else name.format(victim)
    hostile = dict(best_ckpt=named, best_ckpt_Dice=named, last_ckpt=named)
    hostile["keep_ckpt_ids"] = ["../../victim/x", 1, -1, 2.0, True, 3, 4, 5]
    place = (run if inside else tmp_path) / "iter_2.pth"
    change_hub(tmp_path / "source/iter_2.pth", place, **hostile)
    if not inside:
        for path in [*run.glob("iter_*"), *run.glob("best_*")]:
            path.unlink()
    train_tiny(run, 5, RISING, resume=True, load_from=str(place), hook=dict(save_best="Dice"))
    assert tree(victim) == before
    assert (run / "precious.pth").read_text() == "precious"
    assert not inside or (run / "iter_9.pth").read_text() == "precious"
    assert not inside or {p.name for p in run.iterdir() if p.is_symlink()} == {
        "iter_1.pth",
        "best_Dice_iter_2.pth",
    }


def test_checkpoints_elsewhere_than_logs(tmp_path):
    """With ``out_dir``; old ones go, and the run goes on from there."""
    hook = dict(out_dir=str(tmp_path / "out"))
    train_tiny(tmp_path / "run", 3, RISING, hook=hook)
    content = train_tiny(tmp_path / "run", 5, RISING, hook=hook, resume=True)
    assert content["meta"]["iter"] == 5
    assert names(tmp_path / "run") == []
    kept = ["best_Dice_iter_5.pth", "iter_4.pth", "iter_5.pth"]
    assert names(tmp_path / "out/run") == kept


class Two(Model):
    """Two numbers, each of an optimiser of its own."""

    def __init__(self):
        super().__init__()
        self.other = torch.nn.Parameter(torch.ones(1))

    def train_step(self, data, optim_wrapper):
        if not isinstance(optim_wrapper, OptimWrapperDict):
            return super().train_step(data, optim_wrapper)
        losses = {}
        for name, wrapper in optim_wrapper.items():
            losses[name] = ((getattr(self, name) - data["x"]) ** 2).mean()
            wrapper.update_params(losses[name])
        return losses


def test_several_optimisers(tmp_path):
    def run(folder, iterations, **options):
        model = Two()
        wrappers = {
            name: OptimWrapper(torch.optim.Adam([getattr(model, name)]), accumulative_counts=2)
            for name in ("weight", "other")
        }
        return train_tiny(
            folder, iterations, model=model, optim_wrapper=OptimWrapperDict(**wrappers), **options
        )

    whole = run(tmp_path / "whole", 6)
    run(tmp_path / "run", 4)
    resumed = run(tmp_path / "run", 6, resume=True)
    assert whole["state_dict"] == resumed["state_dict"]
    assert names(tmp_path / "run") == ["iter_4.pth", "iter_6.pth"]  # none within an accumulation


@pytest.mark.parametrize(
    "left", ["iter_3.pth", "epoch_1.pth", "iter_3.pth.old", "best_a_iter_1.pth"]
)
def test_a_new_run_where_another_was(tmp_path, left):
    """It would overwrite its files, or resume from them when a kill leaves none of its own."""
    (tmp_path / "config.py").write_text("")
    check_unused(tmp_path)
    (tmp_path / left).mkdir()
    with pytest.raises(UserError, match=r"(iter_3|epoch_1|best_a_iter_1)\.pth.*--resume, or start"):
        make_tiny(tmp_path).train()


def in_a_fork(function):
    """Run something in another process, without starting Python again; returns its number."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks are fcntl's")
def test_a_second_run(tmp_path):
    """It is refused, until the first is killed; workers that outlive it do not matter."""
    reading, writing = os.pipe()

    def hold():
        claim(tmp_path)
        os.write(writing, f"{in_a_fork(lambda: time.sleep(60))}\n".encode())
        time.sleep(60)

    holder = in_a_fork(hold)
    worker = int(os.read(reading, 100))
    try:
        part = part_of(tmp_path / "iter_1.pth")
        part.write_text("being written")
        with pytest.raises(UserError, match=rf"in use by another run \(process {holder} "):
            make_tiny(tmp_path).train()
        assert part.exists()
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    os.kill(worker, 0)  # still there
    train_tiny(tmp_path)
    os.kill(worker, signal.SIGKILL)
    assert not part.exists()


def test_a_lock_that_is_a_link(tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "file")
    with pytest.raises(UserError, match=r"run cannot be used \(Too many levels"):
        claim(tmp_path / "run")
    assert (tmp_path / "file").read_text() == "precious"


def test_no_locks_on_this_file_system(tmp_path, monkeypatch):
    said = []

    def refuse(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.lockf", refuse)
    monkeypatch.setattr(work_dirs, "print_log", lambda text, *arguments: said.append(text))
    claim(tmp_path)
    assert "cannot be locked (Function not implemented): start no second run" in said[0]


def test_the_folder_is_given_back(tmp_path):
    """Twice in one process, and then to another."""
    train_tiny(tmp_path, 2)
    train_tiny(tmp_path, 3, resume=True)
    assert os.waitpid(in_a_fork(lambda: claim(tmp_path)), 0)[1] == 0


def test_another_model_is_not_gone_on_with(tmp_path):
    train_tiny(tmp_path, 2)
    said = r"another model \(weight is \(1,\) in it and \(3,\) in the model\): take the config"
    with pytest.raises(CheckpointError, match=said):
        train_tiny(tmp_path, 4, width=3, resume=True)


def test_another_optimiser_is_not_gone_on_with(tmp_path):
    """It would be an error of PyTorch's, from within mmengine."""
    train_tiny(tmp_path, 2, model=Two())
    wrapper = dict(
        optimizer=dict(type="SGD", lr=0.01),
        paramwise_cfg=dict(custom_keys=dict(other=dict(lr_mult=2))),
    )
    said = r"1 groups of 2 parameters, and this one has 2 of 2: take the optim_wrapper"
    with pytest.raises(CheckpointError, match=said):
        train_tiny(tmp_path, 4, model=Two(), optim_wrapper=wrapper, resume=True)
