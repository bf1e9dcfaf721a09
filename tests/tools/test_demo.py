import re

import cv2
import pytest

from .conftest import run_tool


def scores(output):
    """Model's and Otsu's mIoU as the demo prints them."""
    model = re.search(r"DeepViT \+ UPerNet +mIoU ([\d.]+)", output)
    otsu = re.search(r"Otsu's threshold +mIoU ([\d.]+)", output)
    return float(model[1]), float(otsu[1])


def test_the_demo_shortened(tmp_path):
    options = [
        "train_cfg.max_iters=2",
        "train_cfg.val_interval=2",
        "default_hooks.checkpoint.interval=2",
    ]
    result = run_tool("tools/demo.py", "--work-dir", tmp_path, "--cfg-options", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    model, otsu = scores(result.stdout)
    assert 0 < model < 100
    assert 40 < otsu < 75
    assert len(list((tmp_path / "pictures").glob("*_overlay.png"))) == 80
    assert cv2.imread(str(tmp_path / "overview.jpg")).shape == (4 * 132, 72 + 10 * 132, 3)


def test_a_failing_step_names_its_log(tmp_path):
    result = run_tool(
        "tools/demo.py", "--work-dir", tmp_path, "--cfg-options", "model.type=Nothing"
    )
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: tools/train.py failed with status 2 (config ")
    assert "Nothing is not in the mmseg::model registry" in last
    assert last.endswith(f": see {tmp_path}/train.log")


def test_somebodys_folder_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.tex").write_text("years of work")
    result = run_tool("tools/demo.py", "--work-dir", tmp_path)
    assert result.returncode == 2
    assert str(tmp_path / "data") in result.stderr.splitlines()[-1]
    assert (tmp_path / "data" / "thesis.tex").read_text() == "years of work"


@pytest.mark.slow
def test_the_demo_reaches_its_scores(tmp_path):
    """mIoU at least 85 on held-out images, and clearly above Otsu's threshold."""
    result = run_tool("tools/demo.py", "--work-dir", tmp_path, timeout=1200)
    assert result.returncode == 0, result.stdout + result.stderr
    model, otsu = scores(result.stdout)
    assert model >= 85
    assert model > otsu + 15
