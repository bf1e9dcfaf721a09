"""A study's file: what is read from it, and what is refused."""

import pytest

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.studies import read_study

from ..conftest import ROOT

STUDY = """
title: Two depths
cases: deep-seed5
seeds: [3, 5]
options: {train_cfg.max_iters: 7, a: 1}
models:
  shallow: {config: c.py, labels: {depth: 2}}
  deep:
    config: d.py
    baseline: shallow
    seeds: [5]
    labels: {kind: deep, depth: 4}
    options: {a: 2}
    tests: {plain: [], tta: [--tta]}
    train: [--ema, 0.003]
"""


def written(tmp_path, text):
    path = tmp_path / "study.yml"
    path.write_text(text)
    return str(path)


def test_models_runs_and_options(tmp_path):
    study = read_study(written(tmp_path, STUDY))
    assert study.title == "Two depths"
    assert study.cases == "deep-seed5"
    assert study.columns == ["depth", "kind"]
    assert [run.name for run in study.runs] == ["shallow-seed3", "shallow-seed5", "deep-seed5"]
    assert study.runs[2].options == {"train_cfg.max_iters": 7, "a": 2, "randomness.seed": 5}
    assert study.runs[0].option_words[:2] == ["--cfg-options", "train_cfg.max_iters=7"]
    assert list(study.models["shallow"].tests) == ["test"]
    assert study.models["deep"].tests["tta"] == ["--tta"]
    assert study.runs[2].train_words[:3] == ["--ema", "0.003", "--cfg-options"]
    assert study.runs[0].train_words == study.runs[0].option_words


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*/study.yml")), ids=str)
def test_ours_name_configs_that_are_there(path):
    study = read_study(str(path))
    for model in study.models.values():
        assert (ROOT / model.config).is_file()
        assert "randomness.seed" not in model.options


@pytest.mark.skipif(not (ROOT / "results").is_dir(), reason="results are in a checkout only")
def test_ours_are_small_and_their_photographs_have_a_source():
    files = [p for p in (ROOT / "results").rglob("*") if p.is_file() and p.name != ".lock"]
    assert len(files) < 80
    assert sum(path.stat().st_size for path in files) < 3_000_000
    notice = (ROOT / "results" / "NOTICE").read_text()
    for path in files:
        if path.suffix == ".jpg":
            assert path.relative_to(ROOT / "results").as_posix() in notice


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models: {a: {config: c.py}}\nmodel: 1", "it has model, and takes"),
        ("models: {a: {config: c.py, seed: 1}}", "models.a has seed"),
        ("models: {a: {}}", "models.a needs a name without / and a config"),
        ("models: {a/b: {config: c.py}}", "models.a/b needs a name without /"),
        ("models: {a: {config: c.py, seeds: []}}", "seeds of a must be a list of integers"),
        ("models: {a: {config: c.py, seeds: 3}}", "got 3"),
        ("models: {a: {config: c.py, baseline: b}}", "baseline b of a is no model"),
        ("models: {a: {config: c.py, tests: {flips: --tta}}}", "lists of arguments, got {'flips'"),
        ("models: {a: {config: c.py, tests: {}}}", "tests of a must map names to lists"),
        ("models: {a: {config: c.py, train: --ema}}", "train of a must be a list of arguments"),
        (
            "models: {a: {config: c.py}}\ncases: a",
            "cases must name a run of it, as a-seed0, got 'a'",
        ),
        ("models: {a: c.py}", "models.a must map names to values, got str"),
        ("[1]", "the file must map names to values, got list"),
        ("a: b: c", "is no YAML file"),
        ("a: !!python/object/apply:os.getcwd []", "is no YAML file"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, says):
    with pytest.raises(UserError, match="study") as error:
        read_study(written(tmp_path, text))
    assert says in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_study(str(tmp_path / "study.yml"))
