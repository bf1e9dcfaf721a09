import shutil

import pytest

from mmseg_deepvit.engine import better_rule
from mmseg_deepvit.errors import UserError

from .tiny import make_tiny, names

SCORES = [1.0, 3.0, 2.0, 3.0, 2.0, 9.0]


def make(work_dir, patience, monitor="mIoU", scores=SCORES, keeps=2, **options):
    stop = dict(type="mmseg.ResumableEarlyStoppingHook", monitor=monitor, patience=patience)
    save = dict(rule="less" if "loss" in monitor else "greater", max_keep_ckpts=keeps)
    return make_tiny(work_dir, 6, {monitor: scores}, custom_hooks=[stop], hook=save, **options)


def train(*args, **options):
    """Train; returns the iterations, and the best checkpoints."""
    runner = make(*args, **options)
    runner.train()
    return runner.iter, [name for name in names(args[0]) if "best" in name]


@pytest.mark.parametrize(("patience", "stops_at"), [(1, 3), (2, 4), (3, 5), (4, 6)])
def test_stops_after_that_many_validations(patience, stops_at, tmp_path):
    """An equal score is no improvement, and the best checkpoint stays."""
    best = "best_mIoU_iter_6.pth" if stops_at == 6 else "best_mIoU_iter_2.pth"
    assert train(tmp_path, patience) == (stops_at, [best])


def test_less_is_better_for_losses(tmp_path):
    scores = [-score for score in SCORES]
    assert train(tmp_path, 2, "loss", scores) == (4, ["best_loss_iter_2.pth"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that keeps all checkpoints and stops after iteration 5."""
    folder = tmp_path_factory.mktemp("whole")
    make(folder, 3, keeps=-1).train()
    return folder


@pytest.mark.parametrize("name", [*(f"iter_{i}.pth" for i in range(1, 6)), "best_mIoU_iter_2.pth"])
def test_a_resumed_run_stops_where_it_would_have(name, whole, tmp_path):
    """From every checkpoint, before the validation of its iteration or after it."""
    shutil.copy(whole / name, tmp_path / "from.pth")
    runner = make(tmp_path / "run", 3, resume=True, load_from=str(tmp_path / "from.pth"))
    runner.train()
    assert runner.iter == 5


def test_a_resumed_run_may_wait_longer(whole, tmp_path):
    shutil.copy(whole / "iter_5.pth", tmp_path)
    runner = make(tmp_path / "run", 4, resume=True, load_from=str(tmp_path / "iter_5.pth"))
    runner.train()
    assert runner.iter == 6


def test_one_line_says_why(tmp_path):
    runner = make(tmp_path, 1)
    said = []
    runner.logger.info = said.append
    runner.train()
    (line,) = [line for line in said if "early" in line]
    best = tmp_path / "best_mIoU_iter_2.pth"
    expected = "Training stopped early: mIoU has not improved on 3 in 1 validation; the best "
    assert line == f"{expected}checkpoint is {best}"


def test_a_score_that_nothing_measures(tmp_path):
    runner = make(tmp_path, 1, "mIoU")
    for hook in runner.hooks:
        if hasattr(hook, "patience"):
            hook.monitor = "nope"
    with pytest.raises(UserError, match="early stopping by 'nope', which is not measured: mIoU"):
        runner.train()


@pytest.mark.parametrize(
    ("score", "rule"),
    [
        ("mIoU", "greater"),
        ("aAcc", "greater"),
        ("per_image/TJaccard", "greater"),
        ("per_image/Sensitivity_low", "greater"),
        ("per_image/HD95", "less"),
        ("loss_dice", "less"),
    ],
)
def test_which_values_are_better(score, rule):
    assert better_rule(score) == rule


def test_a_name_that_tells_nothing():
    with pytest.raises(ValueError, match=r"'mine' does not tell .*: give the rule"):
        better_rule("mine")
