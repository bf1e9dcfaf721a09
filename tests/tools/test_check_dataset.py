import cv2
import numpy as np
import pytest

from ..conftest import ROOT
from ..datasets.published import (
    isic_image,
    isic_mask,
    noise,
    write,
    write_camvid,
    write_isic,
)
from .conftest import assert_one_line, run_here, run_tool

DEMO = "configs/upernet_deepvit_demo.py"


def check(root, out, *arguments, config=DEMO, run=run_here):
    roots = [f"{part}_dataloader.dataset.data_root={root}" for part in ("train", "val", "test")]
    command = ("tools/check_dataset.py", config, "--out", out, *arguments)
    return run(*command, "--cfg-options", *roots)


@pytest.fixture
def root(tmp_path):
    write_isic(tmp_path / "isic", 12)
    return write_isic(tmp_path / "isic", 4, "Validation")


def test_good_data(root, tmp_path):
    result = check(root, tmp_path / "out", "--workers", 2, run=run_tool)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "train: 12 images, 12 with mask, 12 read" in result.stdout
    assert "val: 4 images" in result.stdout
    assert "test: the same as val" in result.stdout
    assert "lesion" in result.stdout
    files = {path.name for path in (tmp_path / "out").iterdir()}
    sheets = {"contact_sheet_train.png", "contact_sheet_val.png"}
    assert files == {"report.txt", "bad_files.txt", *sheets}
    assert (tmp_path / "out" / "bad_files.txt").read_text() == ""
    report = (tmp_path / "out" / "report.txt").read_text()
    assert report.strip() in result.stdout
    assert cv2.imread(str(tmp_path / "out" / "contact_sheet_train.png")).shape[0] > 3 * 288


def test_bad_data_is_listed_to_the_last_file(root, tmp_path):
    """More than are printed, in both parts, one kind beside the other."""
    for i in range(11):
        write(isic_mask(root, f"ISIC_{i:07d}"), np.full((12, 16), 100 + i, np.uint8))
    isic_image(root, "ISIC_0000011").write_text("hello")
    isic_mask(root, "ISIC_0000000", "Validation").unlink()
    write(isic_mask(root, "left_over", "Validation"), noise(12, 16))
    result = check(root, tmp_path / "out")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "14 bad files; report, list and 2 contact sheets in" in result.stdout
    assert "and 2 more" in result.stdout
    lines = (tmp_path / "out" / "bad_files.txt").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    assert [row[0] for row in rows] == ["train"] * 12 + ["val"] * 2
    for i, row in enumerate(rows[:11]):
        assert row[1:] == [
            "labels outside the classes",
            str(isic_mask(root, f"ISIC_{i:07d}")),
            str(100 + i),
        ]
    assert rows[11][1:3] == ["unreadable", str(isic_image(root, "ISIC_0000011"))]
    assert rows[12][1:3] == [
        "image without mask",
        str(isic_image(root, "ISIC_0000000", "Validation")),
    ]
    assert rows[13][1:] == ["mask without image", str(isic_mask(root, "left_over", "Validation"))]
    assert (tmp_path / "out" / "contact_sheet_train.png").exists()


def test_ade20k(ade_root, tmp_path):
    """The published layout, the first class at label 1, some of the real images."""
    arguments = ("--part", "train", "--max-images", 5)
    config = "configs/upernet_deepvit_ade20k.py"
    result = check(ade_root, tmp_path / "out", *arguments, config=config)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "train: 14 images, 14 with mask, 5 read" in result.stdout
    assert "never present" in result.stdout
    assert "val" not in result.stdout
    assert "ignored (of all pixels)" in result.stdout


@pytest.mark.parametrize("published", [True, False])
def test_camvid(tmp_path, published):
    """Both layouts; a label above the classes, and an image without mask."""
    root = write_camvid(tmp_path / "camvid", 4, published=published)
    write_camvid(root, 2, "val", published)
    masks = root / ("trainannot" if published else "annotations/train")
    write(masks / "0001TP_000001.png", np.full((8, 12), 12, np.uint8))
    (masks / "0001TP_000003.png").unlink()
    result = check(root, tmp_path / "out", config="configs/linear_vit-ti_camvid.py")
    assert result.returncode == 1
    assert "train: 4 images, 3 with mask, 4 read" in result.stdout
    assert "val: 2 images, 2 with mask, 2 read" in result.stdout
    assert "bicyclist" in result.stdout
    lines = (tmp_path / "out" / "bad_files.txt").read_text().splitlines()
    kinds = {tuple(line.split("\t")[:2]) for line in lines}
    assert kinds == {("train", "labels outside the classes"), ("train", "image without mask")}


def test_bad_input(root, tmp_path):
    result = check(tmp_path / "nowhere", tmp_path / "out")
    assert_one_line(result, "ISIC2018_Task1-2_Training_Input does not exist", "data_root")
    (tmp_path / "file").write_text("")
    assert_one_line(check(root, tmp_path / "file" / "out"), "--out", "cannot be written")
    result = run_here("tools/check_dataset.py", DEMO, "--max-images", 0)
    assert result.returncode == 2
    assert "--max-images must be at least 1, got 0" in result.stderr
    config = tmp_path / "config.py"
    config.write_text(f"_base_ = '{ROOT / DEMO}'\nval_dataloader = None\n")
    result = check(root, tmp_path / "out", "--part", "val", config=config)
    assert_one_line(result, "val_dataloader")
