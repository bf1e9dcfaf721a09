import numpy as np
import pytest
from PIL import Image

from mmseg_deepvit.errors import UserError

from ..conftest import ROOT
from .published import build as build_any
from .published import write_camvid


def build(root, part="train", **arguments):
    return build_any("CamVidDataset", root, part=part, **arguments)


def first_row(dataset, i=0):
    return dataset[i]["data_samples"].gt_sem_seg.data[0, 0].tolist()


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_both_layouts(tmp_path, part, published):
    dataset = build(write_camvid(tmp_path, part=part, published=published), part)
    assert len(dataset) == 3
    ending = "png" if published else "jpg"
    assert dataset.get_data_info(1)["img_path"].endswith(f"{part}/0001TP_000001.{ending}")
    labels = [*range(11), 255]
    for i in range(3):
        assert first_row(dataset, i) == np.roll(labels, i).tolist()


def test_classes_have_the_published_colours():
    """Rows of CamVid's label_colors.txt."""
    meta = build("nowhere", lazy_init=True).metainfo
    assert len(meta["classes"]) == len(meta["palette"]) == 11
    colours = dict(zip(meta["classes"], meta["palette"], strict=True))
    assert colours["sky"] == [128, 128, 128]
    assert colours["pole"] == [192, 192, 128]
    assert colours["car"] == [64, 0, 128]
    assert colours["bicyclist"] == [0, 128, 192]


def test_some_of_the_classes(tmp_path):
    dataset = build(write_camvid(tmp_path), metainfo={"classes": ("car", "road")})
    expected = [255] * 12
    expected[8], expected[3] = 0, 1
    assert first_row(dataset) == expected
    assert dataset.metainfo["palette"] == [[64, 0, 128], [128, 64, 128]]


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(UserError, match="/train does not exist; unzip the data set there"):
        build(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"/train holds no images \*\.png; check data_root"):
        build(tmp_path)
    write_camvid(tmp_path)
    (tmp_path / "trainannot" / "0001TP_000002.png").unlink()
    with pytest.raises(UserError, match=r"1 images of .*train have no mask .*\(0001TP_000002"):
        build(tmp_path)


def test_a_test_may_go_without_masks(tmp_path):
    for path in write_camvid(tmp_path, part="test").glob("testannot/*"):
        path.unlink()
    dataset = build(tmp_path, "test", test_mode=True)
    assert "gt_sem_seg" not in dataset[2]["data_samples"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"part": "training"}, "part must be one of train, val, test, got 'training'"),
        ({"data_prefix": {"img_path": "x"}}, "part='train' sets data_prefix; give one of them"),
    ],
)
def test_bad_arguments(arguments, said):
    with pytest.raises(ValueError, match=said):
        build_any("CamVidDataset", "nowhere", **{"part": "train", **arguments})


@pytest.mark.parametrize(("part", "count"), [("train", 367), ("val", 101)])
def test_real_images(part, count):
    root = ROOT / "data" / "camvid"
    if not root.is_dir():
        pytest.skip("no CamVid images in data/camvid")
    dataset = build(root, part)
    assert len(dataset) == count
    sample = dataset[0]["data_samples"]
    labels = sample.gt_sem_seg.data[0].numpy()
    assert labels.shape == (360, 480)
    written = np.array(Image.open(sample.seg_map_path))
    assert np.array_equal(labels, np.where(written == 11, 255, written))
    assert {1, 3, 8, 255} <= set(np.unique(labels)), "buildings, road, cars, unlabelled"
