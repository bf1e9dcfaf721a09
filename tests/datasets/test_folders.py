import numpy as np
import pytest

from mmseg_deepvit.datasets.mask_values import MaskValues
from mmseg_deepvit.datasets.subsets import RandomPart
from mmseg_deepvit.errors import UserError

from .folders import mask, picture, write_any, write_pairs
from .published import PIPELINE
from .published import build as build_any

BINARY = dict(labels=dict(background=0, lesion=[1, 255]))
PREFIX = dict(img_path="images", seg_map_path="masks")


def build(root, **arguments):
    return build_any("FolderDataset", root, **{"data_prefix": PREFIX, **BINARY, **arguments})


def labels_of(dataset, i=0):
    return dataset[i]["data_samples"].gt_sem_seg.data[0].numpy()


def test_any_ending_in_any_case(tmp_path):
    write_any(tmp_path / "images/a é 1.JPG", picture())
    write_any(tmp_path / "images/sub/b.Tiff", picture())
    (tmp_path / "images/._a.jpg").write_bytes(b"what macOS leaves")
    (tmp_path / "images/notes.txt").write_text("no image")
    write_any(tmp_path / "masks/a é 1.BMP", mask(255))
    write_any(tmp_path / "masks/sub/b.png", mask(1))
    dataset = build(tmp_path)
    assert len(dataset) == 2
    for i in range(2):
        assert np.array_equal(labels_of(dataset, i), mask(1))


def test_one_folder_for_both(tmp_path):
    write_pairs(tmp_path, "all", "all", end=(".jpg", "_mask.png"))
    folder = dict(img_path="all", seg_map_path="all")
    assert len(build(tmp_path, data_prefix=folder, seg_map_suffix="_mask")) == 4
    assert len(build(tmp_path, data_prefix=folder, seg_map_suffix="_MASK.PNG")) == 4
    with pytest.raises(UserError, match="set img_suffix and seg_map_suffix to tell them apart"):
        build(tmp_path, data_prefix=folder)


def test_a_folder_of_masks_in_the_folder_of_images(tmp_path):
    write_pairs(tmp_path, "", "masks")
    assert len(build(tmp_path, data_prefix=dict(img_path="", seg_map_path="masks"))) == 4


@pytest.mark.parametrize(
    ("written", "labels", "ignore"),
    [
        (mask(1), dict(a=0, b=1), ()),
        (mask(255), dict(a=0, b=[1, 255]), ()),
        (mask(40000, kind=np.uint16), dict(a=0, b=40000), ()),
        (mask([255] * 3), dict(a=0, b=255), ()),  # grey saved as RGB
        (mask([255, 128, 0]), dict(a="#000000", b=["#010101", "#FF8000"]), ()),
        (mask([255, 128, 0]), dict(b="#ff8000"), ("#000000",)),
    ],
)
def test_what_masks_hold(tmp_path, written, labels, ignore):
    write_any(tmp_path / "images/x.png", picture())
    write_any(tmp_path / "masks/x.png", written)
    found = labels_of(build(tmp_path, labels=labels, ignore=list(ignore)))
    expected = np.where(mask(1) == 1, list(labels).index("b"), 255 if ignore else 0)
    assert np.array_equal(found, expected)


def test_colours_of_a_palette(tmp_path):
    from PIL import Image

    image = Image.fromarray(mask(1), "P")
    image.putpalette([0, 0, 0, 255, 128, 0])
    (tmp_path / "masks").mkdir()
    image.save(tmp_path / "masks/x.png")
    write_any(tmp_path / "images/x.png", picture())
    for labels in (dict(a=0, b=1), dict(a="#000000", b="#ff8000")):
        dataset = build(tmp_path, labels=labels)
        assert np.array_equal(labels_of(dataset), mask(1))
    assert dataset.metainfo["palette"] == [[0, 0, 0], [255, 128, 0]]


def test_names_of_classes_alone(tmp_path):
    """Class i is value i."""
    dataset = build(write_pairs(tmp_path), labels=None, metainfo=dict(classes=("a", "b")))
    assert np.array_equal(labels_of(dataset), mask(1))
    with pytest.raises(ValueError, match="needs labels"):
        build(tmp_path, labels=None)


@pytest.mark.parametrize(
    ("value", "said"),
    [(7, r"1\.png holds 7 in 384 pixels, which no class has"), ([9, 8, 7], "holds colours")],
)
def test_a_value_of_no_class_is_named(tmp_path, value, said):
    write_pairs(tmp_path)
    write_any(tmp_path / "masks/1.png", mask(value))
    dataset = build(tmp_path)
    assert np.array_equal(labels_of(dataset), mask(1))
    with pytest.raises(UserError, match=said):
        dataset[1]


@pytest.mark.parametrize(
    ("labels", "ignore", "said"),
    [
        (dict(a=0, b=0), (), "give 0 to a and b"),
        (dict(a=0), (0,), "give 0 to a and ignore"),
        (dict(a=0, b="#ffffff"), (), "colours '#rrggbb' alone"),
        (dict(a=-1), (), "numbers from 0 on"),
        (dict(a="white"), (), "'#rrggbb'"),
        ({}, (), "1 to 255 classes"),
    ],
)
def test_tables_that_contradict_themselves(labels, ignore, said):
    with pytest.raises(ValueError, match=said):
        build("nowhere", labels=labels, ignore=ignore, lazy_init=True)


def test_files_without_partner(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "masks/2.png").unlink()
    with pytest.raises(UserError, match=r"1 images of .*images have no mask in .*masks \(2\)"):
        build(tmp_path)
    write_any(tmp_path / "masks/2.png", mask())
    write_any(tmp_path / "masks/9.png", mask())
    assert len(build(tmp_path)) == 4
    write_any(tmp_path / "images/2.jpg", picture())
    with pytest.raises(UserError, match=r"two files of one name, 2\.jpg and 2\.png"):
        build(tmp_path)
    with pytest.raises(UserError, match="nothing does not exist"):
        build(tmp_path, data_prefix=dict(img_path="nothing", seg_map_path="masks"))


def test_tests_may_have_no_masks(tmp_path):
    write_pairs(tmp_path)
    folders = dict(img_path="images", seg_map_path="none")
    dataset = build(tmp_path, data_prefix=folders, test_mode=True)
    assert "gt_sem_seg" not in dataset[0]["data_samples"]


def test_parts_by_a_list(tmp_path):
    write_pairs(tmp_path, end=(".JPG", ".png"))
    (tmp_path / "train.txt").write_text("2\n0.JPG\n")
    dataset = build(tmp_path, ann_file="train.txt")
    assert [i["img_path"][-5:] for i in map(dataset.get_data_info, range(2))] == ["2.JPG", "0.JPG"]


def test_parts_by_a_fraction(tmp_path):
    write_pairs(tmp_path, count=12)
    split = dict(val_fraction=0.4, seed=3)
    parts = [build(tmp_path, part=part, **split) for part in ("train", "val")]
    paths = [{d.get_data_info(i)["img_path"] for i in range(len(d))} for d in parts]
    assert len(paths[0]) + len(paths[1]) == 12
    assert not paths[0] & paths[1]
    with pytest.raises(ValueError, match="belong together"):
        build(tmp_path, part="train")
    with pytest.raises(UserError, match="leaves no image of 12 for val"):
        build(tmp_path, part="val", val_fraction=1e-9)


def test_images_keep_their_part_when_others_are_added():
    names = [f"scan {i}" for i in range(400)]
    part = RandomPart("val", 0.25, 1)
    chosen = part.choose(names)
    assert 70 < len(chosen) < 130
    assert part.choose(names[::2]) == [name for name in names[::2] if name in chosen]
    assert RandomPart("val", 0.25, 2).choose(names) != chosen


def test_masks_of_index_255_stay_ignored_only_if_asked(tmp_path):
    write_pairs(tmp_path, value=255)
    with pytest.raises(UserError, match="holds 255"):
        build(tmp_path, labels=dict(a=0, b=1), pipeline=PIPELINE)[0]
    found = labels_of(build(tmp_path, labels=dict(a=0, b=1), ignore=[255]))
    assert sorted(np.unique(found)) == [0, 255]


@pytest.mark.parametrize(
    ("classes", "is_unpainted"),
    [
        (("skin", "lesion"), True),
        (("Background", "car", "road"), True),
        (("class_0", "class_1", "class_2"), True),
        (("sky", "car", "road"), False),
    ],
)
def test_only_a_background_is_unpainted(classes, is_unpainted):
    palette = MaskValues({name: i for i, name in enumerate(classes)}).palette()
    assert (palette[0] == [0, 0, 0]) == is_unpainted
    assert len(set(map(tuple, palette))) == len(classes)
    assert all(map(any, palette[1:]))
