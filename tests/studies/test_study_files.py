"""What runs leave in a study's two files: nothing is lost, whoever writes at the same time."""

import lzma
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.studies import study_files
from mmseg_deepvit.studies.study import Model, Run
from mmseg_deepvit.studies.study_files import read_image_scores, read_runs, write_run

MODEL = Model("deep-12", "c.py", {}, {}, None, {"one": [], "128": []}, [], range(8))
SETTINGS = {"model": {"depth": 12, "sizes": [1, None]}, "randomness": {"seed": 0}, "scope": None}


def scores_of(seed, images=("b.jpg", "a.jpg")):
    test = {"Dice": dict.fromkeys(images, 80.25 + seed), "TJaccard": dict.fromkeys(images, 0.0)}
    return {"one": test, "128": test}


def write(folder, seed, **more):
    settings = {**SETTINGS, "randomness": {"seed": seed}}
    write_run(
        folder, Run(MODEL, seed), {"seed": seed, "settings": settings}, scores_of(seed, **more)
    )


def test_what_is_written_is_read(tmp_path):
    for seed in (1, 0):
        write(tmp_path, seed)
    runs = read_runs(tmp_path)
    assert list(runs) == ["deep-12-seed0", "deep-12-seed1"]
    expected = {**SETTINGS, "randomness": {"seed": 1}}
    assert runs["deep-12-seed1"] == {"seed": 1, "settings": expected}
    # Sections that runs share are there once.
    assert (tmp_path / "runs.json").read_text().count('"depth"') == 1
    found = read_image_scores(tmp_path)
    assert set(found) == {("deep-12", seed, test) for seed in (0, 1) for test in ("one", "128")}
    assert found["deep-12", 1, "128"] == scores_of(1)["128"]
    lines = lzma.decompress((tmp_path / "scores.csv.xz").read_bytes()).decode().splitlines()
    assert lines[:2] == ["model,seed,test,image,Dice,TJaccard", "deep-12,0,128,a.jpg,80.25,0.00"]


def test_the_order_in_which_runs_end_changes_no_byte(tmp_path):
    for folder, seeds in (("a", (0, 1, 0)), ("b", (1, 0))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            write(tmp_path / folder, seed)
    for name in ("runs.json", "scores.csv.xz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_runs_that_end_at_the_same_time_are_all_recorded(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: write(tmp_path, seed), MODEL.seeds))
    assert len(read_runs(tmp_path)) == 8
    assert len(read_image_scores(tmp_path)) == 16


def test_a_run_that_is_redone_replaces_its_record_and_all_its_scores(tmp_path):
    write(tmp_path, 0)
    write(tmp_path, 0, images=("c.jpg",))
    assert set(read_image_scores(tmp_path)["deep-12", 0, "one"]["Dice"]) == {"c.jpg"}


def test_a_stop_in_between_leaves_no_record_with_other_scores(tmp_path, monkeypatch):
    for seed in (0, 1):
        write(tmp_path, seed)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study_files, "_write_image_scores", stop)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, 0)
    assert list(read_runs(tmp_path)) == ["deep-12-seed1"]
    write(tmp_path, 0)  # the lock is free
    assert len(read_runs(tmp_path)) == 2


@pytest.mark.parametrize("name", ["runs.json", "scores.csv.xz"])
def test_a_damaged_file_is_named_and_left_alone(tmp_path, name):
    write(tmp_path, 0)
    content = (tmp_path / name).read_bytes()[:-30]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is damaged .*; restore it"):
        write(tmp_path, 1)
    assert (tmp_path / name).read_bytes() == content
