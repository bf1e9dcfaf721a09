import cv2
import numpy as np
import pytest

from ..datasets.folders import mask, picture, write_any, write_pairs
from .conftest import assert_one_line, run_here, run_tool

#: A short training of two narrow blocks.
SHORT = [
    "model.backbone.num_layers=2",
    "model.backbone.out_indices=(0,0,1,1)",
    "train_cfg.max_iters=2",
    "train_cfg.val_interval=2",
    "default_hooks.checkpoint.interval=2",
    *(f"{part}_dataloader.num_workers=0" for part in ("train", "val", "test")),
    *(f"{part}_dataloader.persistent_workers=False" for part in ("train", "val", "test")),
]


def test_what_is_missing_is_named(tmp_path):
    out = ("--out", tmp_path / "my.py")
    refuse = run_here("tools/new_config.py", tmp_path / "nothing", *out)
    assert_one_line(refuse, "nothing is no folder; give the folder that holds images and masks")
    write_pairs(tmp_path / "data")
    write_pairs(tmp_path / "data", masks="labels")
    refuse = run_here("tools/new_config.py", tmp_path / "data", *out)
    assert_one_line(refuse, "(labels, masks); name one by --masks FOLDER")
    assert not (tmp_path / "my.py").exists()


def test_a_config_that_check_dataset_takes(tmp_path):
    root = write_pairs(tmp_path / "data", count=6, end=(".JPG", "_mask.png"), value=[9, 8, 7])
    out = tmp_path / "my.py"
    result = run_here("tools/new_config.py", root, "--out", out, "--classes", "skin", "mole")
    assert result.returncode == 0, result.stderr
    assert "| 1     | mole | #090807  | 25.00%          |" in result.stdout
    write_any(root / "masks/9_mask.png", mask())
    (root / "masks/2_mask.png").unlink()
    write_any(root / "masks/3_mask.png", mask([1, 2, 3]))
    arguments = ("--out", tmp_path / "check", "--workers", 0)
    assert run_here("tools/check_dataset.py", out, *arguments).returncode == 1
    bad = (tmp_path / "check/bad_files.txt").read_text()
    assert "masks/2_mask.png does not exist" in bad
    assert "holds #010203 in 384 pixels" in bad
    assert "9_mask.png" in bad


@pytest.mark.slow
def test_from_a_folder_to_pictures(tmp_path):
    """Five bands of floats, trained, tested with pictures and with views, and predicted."""
    for i in range(6):
        pixels = picture(i, (40, 48), 5, 900).astype(np.float32)
        write_any(tmp_path / f"data/images/scan {i}.tif", pixels)
        write_any(tmp_path / f"data/masks/scan {i}.png", mask(255, (40, 48)))
    out, work = tmp_path / "my.py", tmp_path / "work"
    run = [run_tool("tools/new_config.py", tmp_path / "data", "--out", out)]
    short = ("--work-dir", work, "--cfg-options", *SHORT)
    run.append(run_tool("tools/train.py", out, *short))
    model = work / "iter_2.pth"
    run.append(run_tool("tools/test.py", out, model, "--show-dir", tmp_path / "shown", *short))
    run.append(run_tool("tools/test.py", out, model, "--tta", *short))
    pictures = ("--out-dir", tmp_path / "out", "--cfg-options", *SHORT)
    images = tmp_path / "data/images"
    given = ("--config", out, "--checkpoint", model)
    run.append(run_tool("tools/predict.py", images, *given, *pictures))
    one = images / "scan 0.tif"
    run.append(run_tool("tools/visualize_attention.py", one, *given, *pictures))
    assert [r.returncode for r in run] == [0] * 6, [r.stderr[-500:] for r in run]
    assert list((tmp_path / "shown").rglob("test_scan *.png"))
    labels = cv2.imread(str(tmp_path / "out/scan 0_labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (40, 48)
    assert labels.max() < 2
    assert len(list((tmp_path / "out").glob("*_overlay.png"))) == 6
