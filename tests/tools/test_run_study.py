"""A study from its file to its table: real processes on real, generated images."""

import cv2
import pytest
import torch

from mmseg_deepvit.datasets.demo import write_demo_dataset
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.studies.provenance import current_commit, settings_digests
from mmseg_deepvit.studies.study_files import read_image_scores, read_runs

from ..conftest import ROOT
from .conftest import assert_one_line, call_tool, run_tool

STUDY = """
title: A small study
cases: plain-seed0
options:
  train_dataloader.dataset.data_root: {data}
  test_dataloader.dataset.data_root: {data}
  val_dataloader.dataset.data_root: {data}
  train_dataloader.num_workers: 0
  train_dataloader.persistent_workers: false
  test_dataloader.num_workers: 0
  test_dataloader.persistent_workers: false
  train_cfg.max_iters: 2
  train_cfg.val_interval: 100
  default_hooks.checkpoint.interval: 2
  default_hooks.logger.interval: 1
  model.backbone.arch.num_layers: 2
measures: [patch_similarity]
models:
  plain:
    config: configs/linear_vit-w64-d12_isic2018-128x128.py
    tests: {{once: [], tta: [--tta]}}
  mixed:
    config: configs/linear_deepvit-w64-d12_isic2018-128x128.py
    baseline: plain
    train: [--ema, 0.5]
    tests: {{once: []}}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of two models, one of them run."""
    folder = tmp_path_factory.mktemp("study")
    write_demo_dataset(folder / "data", num_train=4, num_val=3)
    path = folder / "study.yml"
    path.write_text(STUDY.format(data=folder / "data"))
    command = ("tools/run_study.py", path, "--work-dir", folder / "work")
    result = run_tool(*command, "--runs", "plain*")
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, command, result


def test_a_run_leaves_what_its_figures_need(study):
    folder, _, result = study
    left = {"runs.json", "scores.csv.xz", "cases.jpg", "README.md", ".lock"}
    assert left == {p.name for p in folder.iterdir()} - {"study.yml", "longer.yml", "data", "work"}
    run = read_runs(folder)["plain-seed0"]
    assert run["iterations"] == 2
    assert run["seed"] == 0
    assert "randomness.seed=0" in run["train"]
    assert run["versions"]["python"]
    tests = {"once": [], "tta": ["--tta"]}
    assert run["digests"] == settings_digests(run["settings"], [], tests)
    assert run["curves"]["iteration"] == [1, 2]
    assert len(run["curves"]["loss"]) == 2
    assert run["collapse"]["patch_similarity"] > 0
    assert run["commits"] == [current_commit()]
    assert run["machine"]["processor"]
    assert run["test"] == tests
    assert set(run["scores"]) == {"once", "tta"}
    scores = read_image_scores(folder)
    assert set(scores) == {("plain", 0, "once"), ("plain", 0, "tta")}
    dice = scores["plain", 0, "once"]["Dice"].values()
    assert len(dice) == 3
    assert sum(dice) / 3 == pytest.approx(run["scores"]["once"]["per_image/Dice"], abs=0.01)
    # Three strips (worst, median, best) of all three images: head, image, truth, prediction.
    assert cv2.imread(str(folder / "cases.jpg")).shape == (3 * (16 + 3 * 96), 3 * (96 + 2), 3)
    assert "| plain" in result.stdout
    assert "![A small study]" not in (folder / "README.md").read_text()  # no label is a number


@pytest.fixture
def call(study, monkeypatch, capsys):
    """Call the tool in this process; what it printed comes back."""
    monkeypatch.chdir(ROOT)

    def call(path, *args):
        call_tool(monkeypatch, "tools/run_study.py", path, *args)
        return capsys.readouterr().out

    return call


def test_what_is_recorded_is_not_run_again(study, call):
    folder, (_, *command), _ = study
    before = (folder / "runs.json").stat().st_mtime_ns
    assert "tools/train.py" not in call(*command, "--runs", "plain*")
    assert (folder / "runs.json").stat().st_mtime_ns == before
    listed = call(*command, "--list").splitlines()[-2:]
    assert listed == ["plain-seed0 recorded", "mixed-seed0 to do"]


def test_other_settings_are_neither_reported_nor_gone_on_with(study, call, capsys):
    folder, (_, path, *command), _ = study
    longer = folder / "longer.yml"
    longer.write_text(path.read_text().replace("max_iters: 2", "max_iters: 4"))
    chosen = (longer, *command, "--runs", "plain*")
    said = call(*chosen, "--list")
    assert said.endswith("plain-seed0 recorded with other settings: training\n")
    with pytest.raises(UserError, match=r"recorded with other settings than .*longer\.yml.*--redo"):
        call(*chosen)
    with pytest.raises(UserError, match="no finished run"):
        call(*chosen, "--report")
    assert "note: plain-seed0 is recorded with other settings" in capsys.readouterr().out
    # Nor is the checkpoint taken that lies in the work dir.
    with pytest.raises(UserError, match=r"plain-seed0 holds checkpoints .* other settings"):
        call(*chosen, "--redo")
    with pytest.raises(SystemExit, match="2"):
        call(*chosen, "--accept", " ")
    assert "--accept needs a reason" in capsys.readouterr().err
    assert read_runs(folder)["plain-seed0"]["iterations"] == 2


def test_a_model_with_arguments_of_its_own_and_a_baseline(study):
    """The second is trained with --ema, scored as the first, and the table has the difference."""
    folder, command, _ = study
    result = run_tool(*command)
    assert result.returncode == 0, result.stderr[-3000:]
    train = read_runs(folder)["mixed-seed0"]["train"]
    assert " --ema 0.5 --cfg-options " in train
    checkpoint = torch.load(folder / "work" / "mixed-seed0" / "iter_2.pth", weights_only=False)
    assert "ema_state_dict" in checkpoint
    scores = read_image_scores(folder)
    dice = [scores[name, 0, "once"]["Dice"].values() for name in ("plain", "mixed")]
    difference = (sum(dice[1]) - sum(dice[0])) / 3
    row = next(r for r in result.stdout.splitlines() if r.startswith("| mixed"))
    assert f"| {difference:+.1f} [" in row


def test_bad_input_is_one_line(study, call, tmp_path):
    _, (_, *command), _ = study
    with pytest.raises(UserError, match=r"--runs other\* names no run: --list"):
        call(*command, "--runs", "other*")
    with pytest.raises(UserError, match="cannot be read"):
        call(tmp_path / "no.yml")
    path = tmp_path / "study.yml"
    path.write_text("models: {a: {config: configs/nothing.py}}")
    assert_one_line(run_tool("tools/run_study.py", path), "configs/nothing.py does not exist")
