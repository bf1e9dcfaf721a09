import json

import pytest

from mmseg_deepvit.analysis.curve_pictures import choose_keys
from mmseg_deepvit.analysis.training_log import (
    TrainingLog,
    find_logs,
    join_starts,
    read_log,
    summarize,
)
from mmseg_deepvit.errors import UserError


def train(at, loss):
    return json.dumps({"lr": 0.1, "loss": loss, "time": 0.5, "iter": at, "step": at})


def val(step, miou):
    return json.dumps({"mIoU": miou, "time": 0.1, "data_time": 0.1, "step": step})


def parse_log(lines, name=""):
    return join_starts({name: lines})


def write(root, start, lines):
    path = root / start / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_lines_of_training_and_validation():
    log = parse_log([train(50, 2.0), train(100, 1.5), val(100, 30.0), ""], "a")
    assert log.training == {
        "lr": [(50, 0.1), (100, 0.1)],
        "loss": [(50, 2.0), (100, 1.5)],
        "time": [(50, 0.5), (100, 0.5)],
    }
    assert log.metrics == {"mIoU": [(100, 30.0)]}
    assert log.notes == []


def test_metrics_logged_by_epoch_stand_at_their_iteration():
    lines = [train(50, 2.0), val(1, 30.0), train(100, 1.5), val(2, 40.0)]
    assert parse_log(lines, "a").metrics["mIoU"] == [(50, 30.0), (100, 40.0)]


@pytest.mark.parametrize("broken", ['{"loss": 1.2, "it', "[1, 2]", '"iter"', '{"loss": 1}', "3"])
def test_a_broken_line_is_left_out_with_a_note(broken):
    log = parse_log([train(50, 2.0), broken], "a.json")
    assert log.training["loss"] == [(50, 2.0)]
    assert log.notes == ["a.json: line 2 is broken and left out"]


def test_measures_at_the_iteration_of_a_validation_take_nothing_away():
    """CollapseHook measures when a run is resumed, at the iteration of the last validation."""
    measure = json.dumps({"collapse/entropy": 0.5, "step": 100})
    starts = {"1": [train(100, 4), val(100, 30), train(150, 3)], "2": [measure, train(150, 2)]}
    joined = join_starts(starts)
    assert joined.metrics == {"mIoU": [(100, 30)], "collapse/entropy": [(100, 0.5)]}
    assert joined.training["loss"] == [(100, 4), (150, 2)]


FIRST = [train(50, 5), train(100, 4), val(100, 1), train(150, 3), val(150, 2)]
SECOND = [train(120, 2), train(150, 1), val(150, 9)]


def test_a_resumed_start_replaces_what_it_repeats():
    joined = join_starts({"1": FIRST, "2": SECOND})
    assert joined.training["loss"] == [(50, 5), (100, 4), (120, 2), (150, 1)]
    assert joined.metrics["mIoU"] == [(100, 1), (150, 9)]
    # The same where both stand in one file.
    assert parse_log([*FIRST, *SECOND]) == joined


def test_a_validation_alone_takes_nothing_away():
    joined = join_starts({"1": [train(50, 5), val(50, 1)], "2": [val(0, 7)]})
    assert joined.training["loss"] == [(50, 5)]
    assert joined.metrics["mIoU"] == [(0, 7), (50, 1)]


def test_a_work_dir_joins_its_starts_in_order(tmp_path):
    second = write(tmp_path, "20260102_000000", [train(150, 3)])
    first = write(tmp_path, "20260101_000000", [train(100, 4), train(150, 9), '{"lo'])
    assert find_logs(str(tmp_path)) == [first, second]
    log = read_log(str(tmp_path))
    assert log.training["loss"] == [(100, 4), (150, 3)]
    assert log.notes == [f"{first}: line 3 is broken and left out"]
    for run in (tmp_path / "20260102_000000", second.parent, second):
        assert read_log(str(run)).training["loss"] == [(150, 3)]


def test_missing_and_empty_runs(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        read_log(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="has no log"):
        read_log(str(tmp_path))
    write(tmp_path, "1", [])
    with pytest.raises(UserError, match="is empty"):
        read_log(str(tmp_path))


def test_what_is_best():
    curve = [(10, 3.0), (20, 5.0), (30, float("nan")), (40, 4.0)]
    assert summarize("mIoU", curve) == (4.0, 5.0, 20)
    assert summarize("per_image/HD95", curve) == (4.0, 3.0, 10)
    assert summarize("loss", curve) == (4.0, 3.0, 10)


def test_keys_to_draw():
    curve = [(1, 1.0)]
    training = dict.fromkeys(["lr", "loss", "decode.loss_ce", "grad_norm", "time"], curve)
    metrics = ["collapse/maps/0", "mIoU", "per_image/Dice", "per_image/Dice_low"]
    metrics += ["per_image/Dice_std", "per_image/HD95", "Dice_low", "collapse/maps/1"]
    log = TrainingLog(training, dict.fromkeys(metrics, curve))
    scores = ["mIoU", "per_image/Dice", "per_image/HD95", "Dice_low"]
    drawn = ["loss", "decode.loss_ce", *scores, "lr", "collapse/maps/0", "collapse/maps/1"]
    assert choose_keys([log]) == choose_keys([log, log]) == drawn
    assert choose_keys([log], ["time", "mIoU", "time"]) == ["time", "mIoU"]
    with pytest.raises(UserError, match=r"--keys mIuO .* there are lr, loss, .*mIoU"):
        choose_keys([log], ["mIuO"])
