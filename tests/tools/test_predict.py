import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ..conftest import ROOT
from .conftest import CONFIG, SMALL, assert_one_line, run_here, run_tool


def predict(trained, out_dir, *images, options=SMALL, checkpoint=None, run=run_tool):
    return run(
        *("tools/predict.py", *images, "--config", CONFIG, "--out-dir", out_dir),
        *("--checkpoint", checkpoint or trained.checkpoint, "--device", "cpu"),
        *("--cfg-options", *options),
    )


def test_a_folder_of_good_and_bad_images(trained, tmp_path):
    """Good ones are done, bad ones listed at the end, the status says so."""
    folder = tmp_path / "images"
    folder.mkdir()
    good = sorted(trained.images.glob("*.jpg"))[:2]
    for path in good:
        shutil.copy(path, folder)
    (folder / "bad.jpg").write_bytes(b"no image")
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("not looked at")
    result = predict(trained, tmp_path / "out", folder)
    assert result.returncode == 1, result.stderr
    assert "2 of 4 images segmented" in result.stdout
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert [e.split("; ")[0].rsplit("/", 1)[-1] for e in errors] == [
        "bad.jpg is no image, or a damaged one",
        "empty.png is empty",
    ]
    assert "Traceback" not in result.stderr
    expected = {f"{p.stem}_{kind}.png" for p in good for kind in ("labels", "overlay")}
    assert {p.name for p in (tmp_path / "out").iterdir()} == expected
    for path in good:
        image = cv2.imread(str(path))
        labels = cv2.imread(str(tmp_path / "out" / f"{path.stem}_labels.png"), cv2.IMREAD_UNCHANGED)
        overlay = cv2.imread(str(tmp_path / "out" / f"{path.stem}_overlay.png"))
        assert labels.dtype == np.uint8
        assert labels.shape == image.shape[:2]
        assert labels.max() < 150
        assert overlay.shape[0] >= image.shape[0]
        assert overlay.shape[1] > image.shape[1]


def test_patterns_and_the_api_agree(trained, tmp_path):
    """The label map is what mmseg's own inference gives on the array."""
    from mmengine.config import DictAction
    from mmseg.apis import inference_model

    from mmseg_deepvit.command_line import load_config
    from mmseg_deepvit.inference import load_segmentor

    image = sorted(trained.images.glob("*.jpg"))[0]
    result = predict(trained, tmp_path, f"{trained.images}/*{image.stem[-4:]}.jpg")
    assert result.returncode == 0, result.stderr
    options = dict(option.split("=", 1) for option in SMALL)
    options = {k: DictAction._parse_iterable(v) for k, v in options.items()}
    model = load_segmentor(load_config(CONFIG, options), trained.checkpoint)
    expected = inference_model(model, cv2.imread(str(image))).pred_sem_seg.data[0].numpy()
    labels = cv2.imread(str(tmp_path / f"{image.stem}_labels.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, expected)


def test_a_model_trained_here_by_its_name(trained, tmp_path):
    """The newest checkpoint in work_dirs/NAME does what the same file does by its path."""
    work_dir = tmp_path / "work_dirs" / "my"
    work_dir.mkdir(parents=True)
    shutil.copy(trained.checkpoint, work_dir)
    (work_dir / "last_checkpoint").write_text(Path(trained.checkpoint).name)
    image = sorted(trained.images.glob("*.jpg"))[0]
    command = [sys.executable, ROOT / "tools/predict.py", image]
    command += ["--model", "my", "--device", "cpu"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    predict(trained, tmp_path / "by_path", image)
    found, expected = (
        cv2.imread(str(tmp_path / folder / f"{image.stem}_labels.png"), cv2.IMREAD_UNCHANGED)
        for folder in ("predictions", "by_path")
    )
    assert np.array_equal(found, expected)


def test_a_model_that_is_not_there():
    refuse = partial(run_here, "tools/predict.py", "x.jpg", "--out-dir", "x", "--model")
    command = "train it: tools/dist_train.sh configs/upernet_cait-s24_ade20k.py 8"
    assert_one_line(refuse("upernet_cait-s24_ade20k"), command)
    assert_one_line(refuse("unknown"), "unknown, and is no name of a config")


def test_bad_input(trained, tmp_path):
    refuse = partial(predict, run=run_here)
    out = tmp_path / "out"
    assert_one_line(refuse(trained, out, tmp_path / "nowhere.jpg"), "nowhere.jpg does not exist")
    assert_one_line(refuse(trained, out, tmp_path), "holds no images")
    assert_one_line(refuse(trained, out, "nothing/*.jpg"), "nothing/*.jpg holds no images")
    result = refuse(trained, out, trained.images, checkpoint=tmp_path / "nowhere.pth")
    assert_one_line(result, "nowhere.pth does not exist")
    result = refuse(trained, out, trained.images, options=[*SMALL, "model.backbone.num_heads=11"])
    assert_one_line(result, "belongs to another model")
    result = refuse(trained, out, trained.images, options=[*SMALL, "model.backbone.num_heads=5"])
    assert_one_line(result, "multiple of num_heads, got 396 and 5")
    assert not out.exists()
