import shutil

import cv2
import numpy as np
import pytest

from mmseg_deepvit.errors import UserError

from ..conftest import ROOT
from .published import LOADING, PIPELINE, isic_image, isic_mask, noise, write, write_isic
from .published import build as build_any


def build(root, part="Training", **arguments):
    return build_any("ISIC2018Dataset", root, part=part, **arguments)


def names(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [info["img_path"].rsplit("/", 1)[-1].removesuffix(".jpg") for info in infos]


@pytest.fixture
def root(tmp_path):
    return write_isic(tmp_path / "isic")


@pytest.mark.parametrize("prefix", [False, True])
def test_reads_published_masks_as_classes(root, prefix):
    folders = {"img_path": isic_image(root, "x").parent.name}
    folders["seg_map_path"] = isic_mask(root, "x").parent.name
    dataset = build(root, None, data_prefix=folders) if prefix else build(root)
    assert len(dataset) == 6, "superpixels, licences and hidden files are no images"
    assert dataset.metainfo["classes"] == ("background", "lesion")
    for i in range(6):
        sample = dataset[i]["data_samples"]
        mask = cv2.imread(sample.seg_map_path, cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) == {0, 255}
        assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), mask // 255)


@pytest.mark.parametrize("lesion", [1, 255])
def test_a_mask_never_holds_the_ignore_index(root, lesion):
    mask = np.zeros((12, 16), np.uint8)
    mask[3:, 3:] = lesion
    write(isic_mask(root, "ISIC_0000002"), mask)
    labels = build(root)[2]["data_samples"].gt_sem_seg.data[0].numpy()
    assert np.array_equal(labels, mask // lesion)


@pytest.mark.parametrize("value", [0, 255])
def test_masks_of_one_class_only(root, value):
    write(isic_mask(root, "ISIC_0000000"), np.full((12, 16), value, np.uint8))
    assert build(root)[0]["data_samples"].gt_sem_seg.data.unique().tolist() == [value // 255]


def test_other_masks_are_refused_by_name(root):
    mask = np.zeros((12, 16), np.uint8)
    cases = {
        "grey": (mask + 17, r"grey_segmentation\.png holds 17 as well as 0 and 255"),
        "rgba": (noise(12, 16, 4), r"rgba_segmentation\.png has 4 channels"),
        "size": (mask[:, 1:], r"size_segmentation\.png is 12×15 .*its image .*jpg 12×16"),
    }
    for name, (bad, _) in cases.items():
        write(isic_image(root, name), noise(12, 16, 3))
        write(isic_mask(root, name), bad)
    tta = [LOADING[0], {"type": "TestTimeAug", "transforms": [[LOADING[1]], [PIPELINE[-1]]]}]
    resized = [LOADING[0], {"type": "Resize", "scale": (8, 8)}, *PIPELINE[1:]]
    for pipeline in (PIPELINE, resized, tta):
        dataset = build(root, pipeline=pipeline)
        dataset[0]
        for name, (_, said) in cases.items():
            with pytest.raises(UserError, match=said):
                dataset[names(dataset).index(name)]


def test_files_without_a_partner_are_named(root):
    for i in range(5):
        isic_mask(root, f"ISIC_{i:07d}").unlink()
    said = r"5 images of .*Input have no mask in .*ISIC_0000000, .*1, .*2 and 2 more\)"
    with pytest.raises(UserError, match=said) as error:
        build(root)
    assert "have no image" not in str(error.value)
    isic_image(root, "ISIC_0000005").unlink()
    said = r"5 images .*have no mask .* 1 masks .*have no image in .*\(ISIC_0000005\)"
    with pytest.raises(UserError, match=said) as error:
        build(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("masks", ["none", "empty"])
def test_a_test_may_go_without_masks(root, masks):
    folder = isic_mask(root, "x").parent
    shutil.rmtree(folder)
    if masks == "empty":
        folder.mkdir()
    with pytest.raises(UserError, match=r"does not exist|have no mask"):
        build(root)
    dataset = build(root, test_mode=True)
    assert len(dataset) == 6
    sample = dataset[3]
    assert sample["inputs"].shape == (3, 12, 16)
    assert "gt_sem_seg" not in sample["data_samples"]


def test_a_test_with_some_masks_is_refused(root):
    isic_mask(root, "ISIC_0000003").unlink()
    with pytest.raises(UserError, match=r"1 images .*ISIC_0000003"):
        build(root, test_mode=True)
    write_isic(root)
    assert "gt_sem_seg" in build(root, test_mode=True)[0]["data_samples"]


def test_missing_and_empty_folders(root):
    with pytest.raises(UserError, match=r"Task1-2_Test_Input does not exist.*data_root"):
        build(root, "Test")
    with pytest.raises(UserError, match=r"holds no images \*\.jpeg"):
        build(root, img_suffix=".jpeg")


def test_split_names_images_with_or_without_ending(root):
    (root / "split.txt").write_text("\ufeffISIC_0000004\r\nISIC_0000001.jpg\r\n\r\n", "utf-8")
    for key in ("split", "ann_file"):
        assert names(build(root, **{key: "split.txt"})) == ["ISIC_0000004", "ISIC_0000001"]
    isic_mask(root, "ISIC_0000000").unlink()  # not asked for
    assert len(build(root, split=str(root / "split.txt"))) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ISIC_0000001\nISIC_9\nISIC_8\n", r"names 2 images that are not there \(ISIC_9, ISIC_8\)"),
        ("ISIC_0000001\nISIC_0000001.jpg\n", r"1 images more than once \(ISIC_0000001\)"),
        ("\n", "names no image"),
        (None, r"split\.txt does not exist"),
    ],
)
def test_bad_splits(root, text, said):
    if text is not None:
        (root / "split.txt").write_text(text)
    with pytest.raises(UserError, match=said):
        build(root, split="split.txt")


def test_folds_part_the_images(root):
    val = [names(build(root, fold=i, num_folds=4, fold_part="val")) for i in range(4)]
    assert sorted(name for fold in val for name in fold) == names(build(root))
    assert sorted(map(len, val)) == [1, 1, 2, 2]
    train = names(build(root, fold=2, num_folds=4, fold_part="train"))
    assert sorted(train + val[2]) == names(build(root))


def test_folds_of_a_split(root):
    (root / "split.txt").write_text("ISIC_0000004\nISIC_0000001\nISIC_0000002\n")
    arguments = dict(split="split.txt", fold=1, num_folds=3)
    held_out = names(build(root, fold_part="val", **arguments))
    assert len(held_out) == 1
    found = sorted(held_out + names(build(root, fold_part="train", **arguments)))
    assert found == ["ISIC_0000001", "ISIC_0000002", "ISIC_0000004"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"part": "train"}, "part must be one of Training, Validation, Test, got 'train'"),
        ({"data_prefix": {"img_path": "a"}}, "part='Training' sets data_prefix"),
        ({"split": "a", "ann_file": "b"}, "give one of them"),
        ({"fold": 0}, "needs fold_part='train'"),
        ({"fold_part": "val"}, "needs fold"),
        ({"fold": 5, "fold_part": "val"}, r"fold must be 0 to 4 \(num_folds\), got 5"),
        ({"fold": -1, "fold_part": "val"}, "at least 0, got -1"),
        ({"fold": 0, "num_folds": 1, "fold_part": "val"}, "num_folds .*at least 2, got 1"),
        ({"reduce_zero_label": True}, "ignore the background"),
        ({"metainfo": {"classes": ("lesion", "background")}}, "in this order"),
        ({"cache_images": True, "cache_limit": 0}, "above 0, got 0"),
        ({"cache_images": True, "pipeline": PIPELINE[1:]}, "begin pipeline with LoadImageFromFile"),
    ],
)
def test_bad_arguments(root, arguments, said):
    with pytest.raises(ValueError, match=said):
        build(root, **{"part": "Training", **arguments})


def test_more_folds_than_images(root):
    with pytest.raises(UserError, match="num_folds=7 needs at least 7 images and the part has 6"):
        build(root, fold=0, num_folds=7, fold_part="val")


@pytest.mark.parametrize(("part", "count"), [("Training", 1600), ("Validation", 400)])
def test_real_images(part, count):
    """The data set lists the images of the recorded results."""
    root = ROOT / "data" / "isic2018"
    if not root.is_dir():
        pytest.skip("no ISIC 2018 images in data/isic2018")
    dataset = build(root, part)
    assert len(dataset) == count
    split = ROOT / "results" / "isic2018-split" / f"{part.lower()}.txt"
    assert names(dataset) == split.read_text().splitlines()
    sample = dataset[7]["data_samples"]
    assert sample.img_shape == (256, 256)
    assert sample.gt_sem_seg.data.unique().tolist() == [0, 1]


def test_the_results_split_parts_the_images():
    folder = ROOT / "results" / "isic2018-split"
    parts = ("training", "validation")
    train, val = ((folder / f"{part}.txt").read_text().splitlines() for part in parts)
    assert (len(train), len(val)) == (1600, 400)
    assert len({*train, *val}) == 2000
