"""Records and checkpoints hold for the settings that they were made with, and for no others."""

import re
import shlex
import subprocess
from copy import deepcopy

import pytest

from mmseg_deepvit.command_line import load_config
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.studies import accept_record, find_records, provenance, read_study
from mmseg_deepvit.studies.provenance import (
    check_training,
    current_commit,
    note_training,
    run_digests,
    settings_digests,
)
from mmseg_deepvit.studies.study_files import read_runs, write_runs

from ..conftest import ROOT

CONFIG = {
    "model": {"backbone": {"num_layers": 2, "img_size": (64, 64)}},
    "train_dataloader": {"batch_size": 2},
    "test_dataloader": {"batch_size": 1},
    "val_dataloader": {"batch_size": 1},
    "default_hooks": {"logger": {"type": "LoggerHook", "interval": 50}, "schedule": {"by": 1}},
    "custom_hooks": [{"type": "EMAHook", "momentum": 0.1}],
    "randomness": {"seed": 0},
    "auto_scale_lr": {"enable": False, "base_batch_size": 4},
    "crop_size": (64, 64),
    "custom_imports": {"imports": ["mmseg_deepvit"]},
    "work_dir": "a",
}
SAFE_LOADING = "mmseg_deepvit.safe_loading.installed"


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("model.backbone.num_layers", 3, {"training", "test one", "test tta"}),
        ("train_dataloader.batch_size", 4, {"training"}),
        ("randomness.seed", 1, {"training"}),
        ("auto_scale_lr.enable", True, {"training"}),
        ("auto_scale_lr.base_batch_size", 8, set()),  # it is not enabled
        ("default_hooks.schedule.by", 2, {"training"}),
        ("custom_hooks", [{"type": "EMAHook", "momentum": 0.2}], {"training"}),
        ("custom_hooks", [*CONFIG["custom_hooks"], {"type": "ClassCheckHook"}], set()),
        ("test_dataloader.batch_size", 4, {"test one", "test tta"}),
        ("val_dataloader.batch_size", 4, set()),
        ("default_hooks.logger.interval", 1, set()),
        ("crop_size", (32, 32), set()),  # a name that only the config uses
        ("custom_imports.imports", ["mmseg_deepvit", "more"], {"training"}),
        ("custom_imports.imports", ["mmseg_deepvit", SAFE_LOADING], set()),  # tools install it
        ("work_dir", "b", set()),
        ("model.backbone.img_size", [64, 64], set()),  # as it is read from JSON
    ],
)
def test_what_decides_a_result_is_digested(key, value, changed):
    other = deepcopy(CONFIG)
    place = other
    *above, last = key.split(".")
    for part in above:
        place = place[part]
    place[last] = value
    tests = {"one": [], "tta": ["--tta"]}
    before, after = (settings_digests(c, [], tests) for c in (CONFIG, other))
    assert {part for part in before if before[part] != after[part]} == changed


def test_arguments_are_digested():
    plain = settings_digests(CONFIG, [], {"one": []})
    assert settings_digests(CONFIG, ["--ema"], {"one": []}) == plain | {
        "training": settings_digests(CONFIG, ["--ema"], {})["training"]
    }
    assert settings_digests(CONFIG, ["--ema"], {})["training"] != plain["training"]
    assert settings_digests(CONFIG, [], {"one": ["--tta"]})["test one"] != plain["test one"]


STUDY = """
tests: {once: [], tta: [--tta]}
options: {train_cfg.max_iters: 7}
models: {plain: {config: configs/linear_vit-w64-d12_isic2018-128x128.py}}
"""


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """The folder of a study whose only run is recorded."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "study.yml").write_text(STUDY)
    (run,) = study_in(tmp_path).runs
    scores = {"once": {"Dice": 1}, "tta": {"Dice": 2}}
    settings = load_config(run.model.config, run.options).to_dict()
    left = {"digests": run_digests(run), "scores": scores, "collapse": {}, "settings": settings}
    write_runs(tmp_path, {run.name: left})
    return tmp_path


def study_in(folder):
    return read_study(str(folder / "study.yml"))


def edit(folder, old, new):
    text = (folder / "study.yml").read_text()
    assert old in text
    (folder / "study.yml").write_text(text.replace(old, new))


def test_records_of_these_settings(recorded):
    records, stale = find_records(study_in(recorded))
    assert set(records["plain-seed0"]["scores"]) == {"once", "tta"}
    assert stale == {}


def test_a_training_with_other_settings_is_no_record(recorded):
    edit(recorded, "max_iters: 7", "max_iters: 8")
    assert find_records(study_in(recorded)) == ({}, {"plain-seed0": ["training"]})


def test_a_test_with_other_settings_is_no_record(recorded):
    edit(recorded, "[--tta]", "[--tta, --cfg-options, model.backbone.map_tokens=None]")
    records, stale = find_records(study_in(recorded))
    assert set(records["plain-seed0"]["scores"]) == {"once"}
    assert stale == {"plain-seed0": ["test tta"]}


def test_a_record_without_digests_is_none(recorded):
    write_runs(recorded, {"plain-seed0": {"scores": {}, "collapse": {}, "settings": {}}})
    assert find_records(study_in(recorded)) == ({}, {"plain-seed0": ["training"]})


def test_other_settings_are_accepted_for_a_reason(recorded):
    edit(recorded, "max_iters: 7", "max_iters: 8")
    study = study_in(recorded)
    changed = accept_record(study, *study.runs, "they learn nothing more")
    assert changed == ["train_cfg.max_iters: 7, now 8"]
    records, stale = find_records(study_in(recorded))
    assert stale == {}
    (accepted,) = records["plain-seed0"]["accepted"]
    assert accepted["reason"] == "they learn nothing more"
    assert accepted["changed"] == changed
    # Only those, and what was recorded holds as before.
    edit(recorded, "max_iters: 8", "max_iters: 9")
    assert find_records(study_in(recorded))[1] == {"plain-seed0": ["training"]}
    edit(recorded, "max_iters: 9", "max_iters: 7")
    assert find_records(study_in(recorded))[1] == {}


def test_an_option_that_changes_nothing_is_told(recorded):
    """A value that the config has already would be a row of equal scores, after hours."""
    again = "{config: configs/linear_vit-w64-d12_isic2018-128x128.py, options: {OPTION}}"
    study = recorded / "study.yml"
    study.write_text(STUDY.replace("}}\n", f"}}, same: {again}}}\n"))
    edit(recorded, "{OPTION}", "{model.backbone.drop_path_rate: 0.05}")
    with pytest.raises(
        UserError, match=r"^plain-seed0 and same-seed0 train with the same settings"
    ):
        find_records(study_in(recorded))
    edit(recorded, "0.05", "0.1")
    assert set(find_records(study_in(recorded))[0]) == {"plain-seed0"}


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*/study.yml")), ids=str)
def test_ours_are_of_what_their_studies_say(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = read_study(str(path))
    records, stale = find_records(study)
    assert stale == {}
    assert set(records) == set(read_runs(study.folder))
    for run in study.runs:
        if run.name in records:
            record = records[run.name]
            words = shlex.split(record["train"])
            words = words[3 : words.index("--cfg-options")]  # after "python tools/train.py CONFIG"
            digests = settings_digests(record["settings"], words, run.model.tests)
            assert record["digests"] == digests


def test_a_folder_goes_on_with_the_settings_that_it_began_with(tmp_path):
    work = tmp_path / "work"
    assert check_training(work, "a") == []
    assert note_training(work, "a") == [current_commit()]
    assert note_training(work, "b") == [current_commit()]  # nothing was trained so far
    (work / "iter_5.pth").touch()
    assert check_training(work, "b") == [current_commit()]
    with pytest.raises(UserError, match=r"work holds checkpoints .* other settings .* --work-dir"):
        note_training(work, "a")
    assert check_training(work, "b")
    (work / "training.json").unlink()
    with pytest.raises(UserError, match="holds checkpoints"):
        check_training(work, "b")


def test_the_commit_of_the_code(tmp_path, monkeypatch):
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    assert re.sub("-dirty$", "", current_commit()) == (head or "unknown")
    # Installed, and within a checkout of something else.
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    place = tmp_path / "site-packages/mmseg_deepvit/studies/provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(place))
    assert current_commit() == "unknown"
