import pytest

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.own_data.layouts import Folders, find_layout, read_words

from ..datasets.folders import write_pairs


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("images", (None, "images")),
        ("SegmentationClass", (None, "masks")),
        ("trainannot", ("train", "masks")),
        ("val_images", ("val", "images")),
        ("ISIC2018_Task1_Validation_GroundTruth", ("val", "masks")),
        ("mask images", (None, "masks")),
        ("Training", ("train", None)),
        ("patient 7", (None, None)),
        ("trains", (None, None)),
    ],
)
def test_what_a_folder_name_tells(name, told):
    assert read_words(name) == told


@pytest.mark.parametrize(
    ("images", "masks", "parts"),
    [
        ("images", "masks", None),
        ("images/{}", "annotations/{}", ("train", "val")),
        ("{}/img", "{}/gt", ("train", "valid", "test")),
        ("{}", "{}annot", ("train", "val")),
        ("ISIC_{}_Input", "ISIC_{}_GroundTruth", ("Training", "Validation")),
        ("", "labels", None),
        ("JPEGImages", "SegmentationClass", None),
    ],
)
def test_layouts(tmp_path, images, masks, parts):
    for part in parts or ("",):
        write_pairs(tmp_path, images.format(part), masks.format(part), end=(".jpg", ".png"))
    layout = find_layout(tmp_path)
    names = ("train", "val", "test")[: len(parts or ("",))]
    expected = {
        name: Folders(images.format(part), masks.format(part))
        for name, part in zip(names, parts or ("",), strict=True)
    }
    assert layout.parts == expected
    assert layout.suffixes == ("", "")
    assert all(len(layout.pairs(part)) == 4 for part in layout.parts)


@pytest.mark.parametrize(
    ("folders", "ends", "suffixes"),
    [
        (("all", "all"), (".jpg", "_mask.png"), ("", "_mask")),
        (("all", "all"), ("_sat.jpg", "_mask.png"), ("_sat", "_mask")),
        (("all", "all"), (".JPG", ".png"), (".jpg", ".png")),
        (("images", "masks"), (".jpg", "_segmentation.png"), ("", "_segmentation")),
        (("images", "masks"), ("_rgb.tif", "_labelIds.png"), ("_rgb", "_labelIds")),
        (("images", "masks"), ("_img.png", ".png"), ("_img", "")),
    ],
)
def test_endings(tmp_path, folders, ends, suffixes):
    layout = find_layout(write_pairs(tmp_path, *folders, end=ends))
    assert layout.suffixes == suffixes
    assert [stem[-1] for stem in layout.pairs("train")] == ["0", "1", "2", "3"]


def test_lists(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "splits").mkdir()
    for part in ("train", "val"):
        (tmp_path / "splits" / f"{part}.txt").write_text("0\n")
    assert find_layout(tmp_path).lists == {"train": "splits/train.txt", "val": "splits/val.txt"}


def test_what_cannot_be_told_is_asked_for(tmp_path):
    write_pairs(tmp_path)
    write_pairs(tmp_path, masks="labels")
    with pytest.raises(UserError, match=r"\(labels, masks\); name one by --masks FOLDER"):
        find_layout(tmp_path)
    assert find_layout(tmp_path, masks="labels").parts["train"] == Folders("images", "labels")
    assert find_layout(tmp_path, "./images/", "masks").parts["train"] == Folders("images", "masks")
    with pytest.raises(UserError, match="--masks nothing is no folder below"):
        find_layout(tmp_path, masks="nothing")


def test_two_data_sets_in_one_folder(tmp_path):
    write_pairs(tmp_path, "street/train/images", "street/train/masks")
    write_pairs(tmp_path, "cells/images", "cells/masks")
    with pytest.raises(UserError, match=r"in street/train/images and, of no part, in cells/images"):
        find_layout(tmp_path)
    assert find_layout(tmp_path / "cells").parts["train"] == Folders("images", "masks")


def test_names_that_make_no_pairs(tmp_path):
    write_pairs(tmp_path, end=("_a.png", "_b.png"), count=1)
    assert find_layout(tmp_path, suffixes=("_a", "_b")).suffixes == ("_a", "_b")
    (tmp_path / "images/0_a.png").rename(tmp_path / "images/x.png")
    with pytest.raises(UserError, match=r"images/ and masks/ .*; name the .* --img-suffix _sat"):
        find_layout(tmp_path)
    with pytest.raises(UserError, match=r"no image in \./ .*; give the folder above"):
        find_layout(tmp_path / "images")


def test_validation_beside_the_folder(tmp_path):
    write_pairs(tmp_path, "train/images", "train/masks")
    write_pairs(tmp_path, "valid/images", "valid/masks")
    assert find_layout(tmp_path / "train").beside == tmp_path / "valid"
    assert find_layout(tmp_path / "valid").beside is None
    assert find_layout(tmp_path).beside is None


def test_folders_without_images(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        find_layout(tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        find_layout(tmp_path / "nothing")
