"""Tables from recorded runs: every figure worked out by hand."""

import numpy as np
import pytest

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.studies import read_study, trained_models, write_report
from mmseg_deepvit.studies.image_scores import read_scores
from mmseg_deepvit.studies.report import BEGIN, END
from mmseg_deepvit.studies.study_files import read_runs, write_run, write_runs
from mmseg_deepvit.studies.table import read_rows

STUDY = """
seeds: [0, 1]
measures: [patch_similarity]
models:
  plain: {config: c.py, labels: {model: plain, blocks: 12}}
  mixed: {config: c.py, baseline: plain, labels: {model: mixed, blocks: 12}}
"""
#: Dice of two images, by run.
DICE = {
    "plain-seed0": (60.0, 80.0),
    "plain-seed1": (64.0, 84.0),
    "mixed-seed0": (70.0, 90.0),
    "mixed-seed1": (72.0, 92.0),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study.yml").write_text(STUDY)
    for name, dice in DICE.items():
        record(tmp_path, name, dice)
    return tmp_path


def record(folder, name, dice, images=("a.jpg", "b.jpg")):
    (run,) = (run for run in study_of(folder)[0].runs if run.name == name)
    scores = {"Dice": dice, "TJaccard": [d / 2 for d in dice]}
    collapse = {"patch_similarity": dice[0] / 100}
    left = {"scores": {"test": {}}, "collapse": collapse, "settings": {}}
    test = {score: dict(zip(images, values, strict=True)) for score, values in scores.items()}
    write_run(folder, run, left, {"test": test})


def forget(folder, name):
    write_runs(folder, {k: left for k, left in read_runs(folder).items() if k != name})


def study_of(folder):
    """The study, and what its runs left."""
    return read_study(str(folder / "study.yml")), read_runs(folder)


def test_rows(folder):
    rows = read_rows(*study_of(folder))
    plain, mixed = rows["plain", "test"], rows["mixed", "test"]
    np.testing.assert_array_equal(plain.scores["Dice"], [[60, 80], [64, 84]])
    assert plain.interval().mean == 72
    assert plain.interval("TJaccard").mean == 36
    assert plain.collapse["patch_similarity"] == [0.6, 0.64]
    difference = mixed.difference(plain)
    assert difference.mean == 9
    # Both images gain alike: what is left is the seeds' 10 and 8, whatever images are drawn.
    assert (difference.low, difference.high) == (8, 10)
    assert plain.interval().low <= 62 < 82 <= plain.interval().high


def test_differences_are_of_common_seeds(folder):
    forget(folder, "plain-seed0")
    rows = read_rows(*study_of(folder))
    assert rows["mixed", "test"].difference(rows["plain", "test"]).mean == 8
    forget(folder, "plain-seed1")
    assert "plain" not in {name for name, _ in read_rows(*study_of(folder))}


def test_report(folder):
    table = write_report(*study_of(folder))
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()]
    assert cells[0] == [
        *("model", "blocks", "seeds", "Dice", "of each seed", "Dice less the baseline's"),
        *("thresholded Jaccard", "patches alike"),
    ]
    assert cells[3][:3] == ["mixed", "12", "2"]
    assert cells[3][3].startswith("81.0 [")
    assert cells[3][4:] == ["80.0, 82.0", "+9.0 [+8.0, +10.0]", "40.5", "0.71"]
    assert (folder / "study.png").stat().st_size > 1000
    text = (folder / "README.md").read_text()
    assert table in text
    # What people wrote around it stays; the table is replaced.
    (folder / "README.md").write_text(text.replace(BEGIN, f"Mine.\n{BEGIN}") + "And mine.\n")
    forget(folder, "mixed-seed1")
    again = write_report(*study_of(folder))
    text = (folder / "README.md").read_text()
    assert "Mine.\n" in text
    assert text.endswith("And mine.\n")
    assert again in text
    assert table not in text


def test_a_file_without_marks_is_left_alone(folder):
    (folder / "README.md").write_text(f"Mine.\n{END}\n{BEGIN}\n")
    with pytest.raises(UserError, match="needs the lines"):
        write_report(*study_of(folder))
    assert (folder / "README.md").read_text() == f"Mine.\n{END}\n{BEGIN}\n"


def test_an_unknown_measure_is_named(folder):
    (folder / "study.yml").write_text(STUDY.replace("patch_similarity", "patches"))
    with pytest.raises(UserError, match="patches is none of similarity_P_k1"):
        write_report(*study_of(folder))


def test_nothing_recorded(tmp_path):
    (tmp_path / "study.yml").write_text(STUDY)
    with pytest.raises(UserError, match="no finished run"):
        read_rows(*study_of(tmp_path))


def test_runs_of_other_images_are_not_compared(folder):
    record(folder, "plain-seed0", (1.0, 2.0), images=("a.jpg", "c.jpg"))
    with pytest.raises(UserError, match="tests of plain are not of the same images"):
        read_rows(*study_of(folder))


def test_a_record_without_its_scores_is_named(folder):
    (folder / "scores.csv.xz").unlink()
    with pytest.raises(UserError, match=r"scores\.csv\.xz lacks test test of plain-seed0; restore"):
        read_rows(*study_of(folder))


def test_scores_of_a_metric(tmp_path):
    (tmp_path / "all.csv").write_text(
        "image,class,Dice,Jaccard,TJaccard\nx/a.jpg,lesion,50.123,33.3,0.0\n"
    )
    found = read_scores(tmp_path / "all.csv")
    assert found == {"Dice": {"a.jpg": 50.123}, "TJaccard": {"a.jpg": 0}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,class,Dice\na.jpg,a,1\n", "TJaccard"),
        ("image,class,Dice,TJaccard\na.jpg,a,,1\n", "could not convert"),
        ("image,class,Dice,TJaccard\na.jpg,a,1,1\nb/a.jpg,a,1,1\n", "two images of the name a"),
    ],
)
def test_other_files_are_refused(tmp_path, text, says):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        read_scores(tmp_path / "a.csv")


def test_the_table_of_trained_models(folder):
    """Hours are a mean over seeds; weights to begin at have a name."""
    study, runs = study_of(folder)
    for i, left in enumerate(runs.values()):
        left.update(
            model=list(runs)[i].split("-")[0], iterations=900, seconds_an_iteration=2 + 4 * (i % 2)
        )
        left["machine"] = {"processor": "P", "threads": 1}
        left["settings"] = {"model": {"backbone": {}}}
    runs["mixed-seed0"]["settings"]["model"]["backbone"]["init_cfg"] = {"checkpoint": "a/b.pth"}
    runs["mixed-seed0"]["machine"]["gpu"] = "G"
    del runs["plain-seed1"]
    mixed, plain = trained_models([(study, runs)]).splitlines()[2:][::-1]
    cells = [cell.strip() for cell in mixed.split("|")[1:-1]]
    page = f"[{folder.name}](../results/{folder.name}/README.md)"
    start = ["mixed, 12", "[c](c.py)", "b.pth", "2"]
    assert cells == [*start, "test 81.0 [70.0, 92.0]", "900 iterations, 1.0 h", "G", page]
    assert "| random weights | 1 " in plain
    assert "900 iterations, 0.5 h" in plain
    assert "P, threads: 1" in plain


STREET = "models: {plain: {config: c.py}, mixed: {config: c.py, baseline: plain}}"
METRIC = """image,class,Dice,TJaccard,TP,FP,FN,TN
x/a.jpg,road,1,1,{},2,4,0
x/a.jpg,car,1,1,0,{},1,9
x/b.jpg,road,1,1,3,0,0,9
x/b.jpg,car,1,1,4,0,0,8
x/a.jpg,sky,1,1,0,0,0,0
x/b.jpg,sky,1,1,0,0,0,0
"""


def test_several_classes_are_scored_by_miou(tmp_path):
    """Pixels of all images are added up before classes are averaged; absent ones are left out."""
    (tmp_path / "study.yml").write_text(STREET)
    for run, (road, car) in zip(study_of(tmp_path)[0].runs, [(4, 3), (6, 1)], strict=True):
        (tmp_path / "metric.csv").write_text(METRIC.format(road, car))
        scores = read_scores(tmp_path / "metric.csv")
        assert scores["road union"] == {"a.jpg": road + 6, "b.jpg": 3}
        left = {"scores": {"test": {}}, "collapse": {}, "settings": {}}
        write_run(tmp_path, run, left, {"test": scores})
    rows = read_rows(*study_of(tmp_path))
    plain, mixed = rows["plain", "test"].interval(), rows["mixed", "test"].interval()
    assert plain.mean == pytest.approx(100 * (7 / 13 + 4 / 8) / 2)
    assert mixed.mean == pytest.approx(100 * (9 / 15 + 4 / 6) / 2)
    # Of two images a draw has a twice, b twice or both.
    assert mixed.low == pytest.approx(100 * (6 / 12 + 0) / 2)
    assert mixed.high == pytest.approx(100)
    difference = rows["mixed", "test"].difference(rows["plain", "test"])
    assert difference.mean == pytest.approx(mixed.mean - plain.mean)
    assert difference.low == pytest.approx(0)  # b alone
    table = write_report(*study_of(tmp_path))
    assert "mIoU less the baseline's" in table
    assert "Jaccard" not in table
    run = study_of(tmp_path)[0].runs[0]
    with pytest.raises(UserError, match="plain-seed0 have other classes"):
        write_run(tmp_path, run, {}, {"test": {"Dice": {"a.jpg": 1.0}}})
