"""Going on from what an interrupted run has left."""

import runpy
import shutil

import pytest
import torch
from mmengine.config import Config

from mmseg_deepvit.engine.resuming.work_dirs import release
from mmseg_deepvit.errors import UserError

from ..conftest import ROOT
from .conftest import CONFIG, SMALL, assert_one_line, run_tool


@pytest.fixture
def interrupted(trained, tmp_path):
    """A run of two iterations, of which the newest checkpoint is cut off."""
    work_dir = shutil.copytree(trained.work_dir, tmp_path / "run")
    newest = work_dir / "iter_2.pth"
    newest.write_bytes(newest.read_bytes()[:-1000])
    (work_dir / "last_checkpoint").write_text(str(newest))
    return work_dir


def resume(work_dir, *options):
    command = ("tools/train.py", CONFIG, "--work-dir", work_dir, "--resume")
    return run_tool(*command, "--cfg-options", *SMALL, *options)


def test_a_damaged_newest_file_is_passed_over(interrupted):
    result = resume(interrupted)
    log = result.stdout + result.stderr
    assert result.returncode == 0, log[-3000:]
    assert "going on from" in log
    assert "iter_1.pth, the newest undamaged one" in log
    assert "Iter(train) [2/2]" in log
    assert "Iter(train) [1/2]" not in log
    assert (interrupted / "last_checkpoint").read_text().endswith("iter_2.pth")
    assert resume(interrupted, "train_cfg.max_iters=3").returncode == 0


def test_nothing_whole_and_nothing_there(interrupted, tmp_path):
    for path in interrupted.glob("iter_*.pth"):
        path.write_bytes(b"")
    assert_one_line(
        resume(interrupted), "none of the 2 checkpoints", "start again without --resume"
    )
    result = resume(tmp_path / "new", "train_cfg.max_iters=1")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "nothing to resume" in result.stdout


@pytest.fixture
def take(tmp_path, monkeypatch):
    """What tools/train.py makes of a config's ``load_from`` and ``resume``."""
    monkeypatch.delenv("TORCHELASTIC_MAX_RESTARTS", raising=False)
    take_work_dir = runpy.run_path(str(ROOT / "tools/train.py"))["take_work_dir"]

    def call(asked, **options):
        cfg = Config(dict(work_dir=str(tmp_path / "run"), **options))
        take_work_dir(cfg, asked)
        return cfg.get("load_from"), cfg.get("resume", False)

    yield call
    release(tmp_path / "run")


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {}, "optimizer": {}, "meta": {"iter": 1}}, path)
    return str(path)


def test_where_a_run_begins(take, tmp_path, monkeypatch, capsys):
    """Nothing is there yet; a config may name weights, or a run to resume."""
    assert take(False) == (None, False)
    assert take(False, load_from="x.pth") == ("x.pth", False)
    assert take(False, load_from="x.pth", resume=True) == ("x.pth", True)
    assert take(True, load_from="x.pth") == ("x.pth", False)
    assert take(True) == (None, True)  # of which mmengine finds nothing either
    assert "nothing to resume" in capsys.readouterr().out
    saved = save(tmp_path / "run/iter_1.pth")
    assert take(True) == take(True, load_from="x.pth") == (saved, True)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    assert take(False) == (saved, True)
    assert "a run with restarts goes on from" in capsys.readouterr().out


def test_a_start_where_a_run_was(take, tmp_path):
    save(tmp_path / "run/iter_1.pth")
    with pytest.raises(UserError, match=r"earlier run \(iter_1\.pth\): go on .* with --resume, or"):
        take(False)


def test_checkpoints_in_a_folder_of_their_own(take, tmp_path):
    """mmengine puts them into one below out_dir, named as the work dir."""
    hook = dict(default_hooks=dict(checkpoint=dict(out_dir=str(tmp_path / "out"))))
    assert take(True, **hook) == (None, True)
    saved = save(tmp_path / "out/run/iter_1.pth")
    assert take(True, **hook) == (saved, True)
    with pytest.raises(UserError, match="out/run holds checkpoints"):
        take(False, **hook)
    assert take(True, default_hooks=dict(checkpoint=dict(out_dir="s3://x"))) == (None, True)
