"""Going on from what an interrupted run has left."""

import shutil

import pytest

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
    assert "iter_1.pth, the newest that is whole" in log
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
