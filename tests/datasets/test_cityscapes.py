import shutil

import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset
from PIL import Image

from mmseg_deepvit.datasets.cityscapes import TRAIN_IDS
from mmseg_deepvit.errors import UserError

from ..conftest import ROOT
from .published import OFFICIAL, write, write_cityscapes
from .published import build as build_any

ALL_IDS = [*range(34), 255]


def build(root, part="train", kind="CityscapesLabelIdsDataset", **arguments):
    folders = {"img_path": f"leftImg8bit/{part}", "seg_map_path": f"gtFine/{part}"}
    return build_any(kind, root, **{"data_prefix": folders, **arguments})


def first_row(dataset, i=0):
    return dataset[i]["data_samples"].gt_sem_seg.data[0, 0].tolist()


def masks(root, kind):
    return sorted((root / "gtFine").rglob(f"*_{kind}.png"))


def test_label_ids_are_mapped_as_the_official_table_says(tmp_path):
    dataset = build(write_cityscapes(tmp_path))
    assert len(dataset) == 3
    assert dataset.metainfo["classes"] == CityscapesDataset.METAINFO["classes"]
    assert dataset.get_data_info(1)["seg_map_path"].endswith(
        "aachen_000001_000019_gtFine_labelIds.png"
    )
    for i in range(3):
        assert first_row(dataset, i) == OFFICIAL
    assert [TRAIN_IDS[i] for i in range(34)] == OFFICIAL[:34]


def write_train_ids(root, names):
    for path in names:
        name = path.name.replace("labelIds", "labelTrainIds")
        # Other labels than the ids give, to see which file was read.
        write(path.with_name(name), np.full((8, 35), 18, np.uint8))


def test_train_ids_are_read_where_all_images_have_them(tmp_path):
    write_train_ids(tmp_path, masks(write_cityscapes(tmp_path), "labelIds"))
    assert set(first_row(build(tmp_path))) == {18}
    for path in masks(tmp_path, "labelIds"):
        path.unlink()
    assert set(first_row(build(tmp_path))) == {18}


def test_of_a_broken_off_conversion_nothing_is_read(tmp_path):
    write_train_ids(tmp_path, masks(write_cityscapes(tmp_path), "labelIds")[:2])
    dataset = build(tmp_path)
    for i in range(3):
        assert first_row(dataset, i) == OFFICIAL


def test_a_given_ending_is_kept_to(tmp_path):
    write_cityscapes(tmp_path, kinds=("labelIds", "labelTrainIds"))
    coarse = [
        p.rename(p.with_name(p.name.replace("gtFine", "gtCoarse")))
        for p in masks(tmp_path, "labelIds")
    ]
    assert len(coarse) == 3
    assert first_row(build(tmp_path, seg_map_suffix="_gtCoarse_labelIds.png")) == OFFICIAL
    assert first_row(build(tmp_path, seg_map_suffix="_gtFine_labelTrainIds.png")) == ALL_IDS


def test_some_of_the_classes(tmp_path):
    classes = ("car", "road")
    dataset = build(write_cityscapes(tmp_path), metainfo={"classes": classes})
    expected = [255] * 35
    expected[26], expected[7] = 0, 1
    assert first_row(dataset) == expected
    write_cityscapes(tmp_path, kinds=("labelTrainIds",))
    expected = [255] * 35
    expected[13], expected[0] = 0, 1
    labels = np.array(first_row(build(tmp_path, metainfo={"classes": classes})))
    assert labels[:19].tolist() == expected[:19]


def test_missing_masks_are_named_and_surplus_ones_pass(tmp_path):
    write_cityscapes(tmp_path)
    masks(tmp_path, "labelIds")[1].unlink()
    with pytest.raises(UserError, match=r"1 images of .*no mask in .*\(aachen_000001_000019_left"):
        build(tmp_path)
    (tmp_path / "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png").unlink()
    (tmp_path / "leftImg8bit/train/aachen/aachen_000002_000019_leftImg8bit.png").unlink()
    assert len(build(tmp_path)) == 1


def test_missing_and_empty_folders(tmp_path):
    write_cityscapes(tmp_path)
    with pytest.raises(UserError, match="leftImg8bit/val does not exist"):
        build(tmp_path, "val")
    (tmp_path / "leftImg8bit/val").mkdir()
    (tmp_path / "gtFine/val").mkdir()
    with pytest.raises(UserError, match="leftImg8bit/val holds no images"):
        build(tmp_path, "val")


def test_a_test_may_go_without_masks(tmp_path):
    shutil.rmtree(write_cityscapes(tmp_path, part="test") / "gtFine")
    with pytest.raises(UserError, match="gtFine/test does not exist"):
        build(tmp_path, "test")
    dataset = build(tmp_path, "test", test_mode=True)
    assert "gt_sem_seg" not in dataset[2]["data_samples"]
    folders = {"img_path": "leftImg8bit/test"}
    with pytest.raises(UserError, match="no seg_map_path"):
        build(tmp_path, "test", data_prefix=folders)
    assert len(build(tmp_path, "test", data_prefix=folders, test_mode=True)) == 3


@pytest.mark.parametrize(("part", "count"), [("train", 3), ("val", 1)])
def test_real_images(part, count):
    root = ROOT / "data" / "cityscapes"
    if not root.is_dir():
        pytest.skip("no Cityscapes images in data/cityscapes")
    dataset = build(root, part)
    assert len(dataset) == count
    data = dataset[0]["data_samples"]
    ids = np.array(Image.open(data.seg_map_path))
    labels = data.gt_sem_seg.data[0].numpy()
    assert labels.shape == (1024, 2048)
    assert np.array_equal(labels, np.array(OFFICIAL)[ids])
    assert {0, 2, 13} <= set(np.unique(labels)), "road, buildings and cars"
