import json

import cv2
import pytest

from mmseg_deepvit.errors import UserError

from .conftest import assert_one_line, call_tool, run_tool


def plot(*args):
    return run_tool("tools/plot_log.py", *args)


def test_a_real_run_and_one_more(trained, tmp_path):
    """One that training wrote and one that was killed, in one figure."""
    killed = tmp_path / "killed" / "vis_data" / "scalars.json"
    killed.parent.mkdir(parents=True)
    lines = [json.dumps({"loss": 5.0 - i, "lr": 0.1, "iter": i, "step": i}) for i in range(1, 4)]
    killed.write_text("\n".join([*lines, '{"loss": 0.']))
    out = tmp_path / "pictures" / "curves.png"
    result = plot(trained.work_dir, tmp_path / "killed", "--names", "a", "b", "--out", out)
    assert result.returncode == 0, result.stderr
    assert f"note: {killed}: line 4 is broken" in result.stdout
    rows = [[c.strip() for c in r.split("|")[1:-1]] for r in result.stdout.splitlines() if "|" in r]
    assert ["run", "metric", "last", "best", "at iteration"] in rows
    (row,) = [row for row in rows if row[:2] == ["a", "mIoU"]]
    log = next(trained.work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines()
    (found,) = [json.loads(line)["mIoU"] for line in log if "mIoU" in line]
    assert row[2:] == [f"{found:.4g}", f"{found:.4g}", "2"]
    assert ["b", "loss", "2", "2", "3"] in rows
    picture = cv2.imread(str(out))
    assert min(picture.shape[:2]) > 400
    assert picture.std() > 5


def test_bad_input(trained, tmp_path):
    result = plot(trained.work_dir, "--out", tmp_path / "curves.png", "--keys", "los")
    assert_one_line(result, "--keys los is in no run", "decode.loss_ce", "mIoU")
    assert not list(tmp_path.iterdir())


def test_formats_and_files_that_cannot_be(trained, tmp_path, monkeypatch, capsys):
    def call(*args):
        call_tool(monkeypatch, "tools/plot_log.py", *args)

    call(trained.work_dir, "--out", tmp_path / "new" / "one.svg")
    assert (tmp_path / "new" / "one.svg").read_text().startswith("<?xml")
    assert "mIoU" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"curves\.doc cannot be written"):
        call(trained.work_dir, "--out", tmp_path / "curves.doc")
    with pytest.raises(UserError, match="nowhere does not exist"):
        call(tmp_path / "nowhere")
    with pytest.raises(UserError, match="a run is given twice"):
        call(trained.work_dir, trained.work_dir)
