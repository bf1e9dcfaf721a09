from dataclasses import replace

import pytest

from mmseg_deepvit.analysis.training_log import join_starts
from mmseg_deepvit.explorer.charts import collapse_charts, training_charts


@pytest.fixture(scope="module")
def measured(deepvit, image):
    explored, _ = deepvit
    return [explored.measure(explored.look(x, "photo.png")) for x in (image, 255 - image)]


def lines(options):
    return {one["name"]: one["data"] for one in options["series"]}


def test_collapse_is_the_mean_over_images(measured):
    charts = {panel.title: options for panel, options in collapse_charts(measured)}
    assert len(charts) == 5
    blocks = lines(charts["Maps of a block and the one before"])
    assert blocks["before mixing, P"][0] == [0, None]  # nothing before the first block
    for name, kind in (("before mixing, P", "P"), ("after mixing, A", "A")):
        measure = f"similarity_{kind}_k1"
        mean = (measured[0].mean[measure] + measured[1].mean[measure]) / 2
        drawn = [y for _, y in blocks[name]]
        assert drawn[1:] == pytest.approx(mean[1:].tolist())
    lowest = min(y for line in blocks.values() for _, y in line[1:])
    axis = charts["Maps of a block and the one before"]["yAxis"]
    assert (axis["max"], axis["interval"]) == (1, 0.2)
    assert axis["min"] <= min(lowest, 0) < axis["min"] + 0.2 + 1e-9
    rank = charts["Effective rank of the tokens"]
    assert "max" not in rank["yAxis"]
    assert [x for x, _ in lines(rank)["effective rank"]] == [0, 1, 2]


def test_equal_lines_are_one(measured):
    one = measured[0]
    mean = {name: one.mean[name.replace("_A", "_P")] for name in one.mean}
    charts = collapse_charts([replace(one, mean=mean)])
    assert list(lines(charts[0][1])) == ["P = A, no head is mixed"]


def test_a_run_has_charts_in_groups():
    text = [
        '{"collapse/entropy": 0.5, "step": 0}',
        '{"loss": 2.0, "lr": 0.1, "time": 1.0, "iter": 10, "step": 10}',
        '{"loss": NaN, "lr": 0.1, "time": 1.0, "iter": 20, "step": 20}',
        '{"Dice": 50.0, "Dice_low": 40.0, "Dice_high": 60.0, "step": 20}',
    ]
    charts = training_charts(join_starts({"scalars.json": text}))
    assert {key: chart.group for key, chart in charts.items()} == {
        "loss": "Training",
        "lr": "Training",
        "Dice": "Scores of the validation",
        "collapse/entropy": "Collapse",
    }
    assert lines(charts["loss"].options) == {"loss": [[10, 2.0], [20, None]]}
    assert lines(charts["Dice"].options)["low"] == [[20, 40.0]]
    assert charts["Dice"].summary == "last 50, best 50 at 20"
    assert charts["lr"].title == "learning rate"
