import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmseg_deepvit.datasets.checking import (
    bad_file_lines,
    build_datasets,
    draw_contact_sheet,
    summary,
    survey_dataset,
)
from mmseg_deepvit.errors import UserError

from ..conftest import ROOT
from .published import (
    LOADING,
    PIPELINE,
    isic_image,
    isic_mask,
    noise,
    write,
    write_cityscapes,
    write_isic,
)


def dataset_config(root, **arguments):
    isic = {"type": "ISIC2018Dataset", "part": "Training", "data_root": str(root)}
    return {**isic, "pipeline": PIPELINE, **arguments}


def cityscapes_config(root):
    folders = {"img_path": "leftImg8bit/train", "seg_map_path": "gtFine/train"}
    scenes = {"type": "CityscapesLabelIdsDataset", "data_root": str(root)}
    return {**scenes, "data_prefix": folders, "pipeline": PIPELINE}


def look_through(dataset, **arguments):
    cfg = Config({"train_dataloader": {"dataset": dataset}})
    ((name, built),) = build_datasets(cfg, "train")
    return survey_dataset(name, built, **arguments)


def found(root, dataset=None, **arguments):
    """Kind and file name of every problem."""
    survey, _ = look_through(dataset or dataset_config(root), **arguments)
    return [(p.kind, p.path.rsplit("/", 1)[-1]) for p in survey.problems]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("mmseg")


@pytest.fixture
def root(tmp_path):
    return write_isic(tmp_path / "isic")


def test_counts_sizes_and_shares(root):
    write(isic_image(root, "large"), noise(30, 40, 3))
    write(isic_mask(root, "large"), np.zeros((30, 40), np.uint8))
    survey, _ = look_through(dataset_config(root))
    assert (survey.num_images, survey.num_masks, survey.num_read) == (7, 7, 7)
    assert survey.sizes == {(12, 16): 6, (30, 40): 1}
    lesion = sum((i + 1) * (i + 2) for i in range(6))
    assert survey.pixels == {0: 6 * 192 + 1200 - lesion, 1: lesion}
    assert survey.images_with == {0: 7, 1: 6}
    assert (survey.problems, survey.good) == ([], list(range(7)))
    text = summary(survey)
    assert "train: 7 images, 7 with mask, 7 read" in text
    assert "smallest 12×16, median 12×16, largest 30×40; 2 different" in text
    assert f"{lesion / (6 * 192 + 1200):.3%}        6" in text
    assert "no bad files" in text
    assert "never present" not in text


def test_classes_that_never_occur_and_ignored_pixels(tmp_path):
    root = write_cityscapes(tmp_path)
    for path in root.rglob("*labelIds.png"):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        labels[np.isin(labels, (26, 7))] = 0
        write(path, labels)
    survey, _ = look_through(cityscapes_config(root))
    assert survey.problems == []
    assert survey.pixels[255] == 3 * 8 * 18
    assert "never present (2): road, car" in summary(survey)
    assert f"ignored (of all pixels)  {18 / 35:>9.3%}        3" in summary(survey)


def damage(root):
    """Write every kind of damage; return the expected problems."""
    names = [f"ISIC_{i:07d}" for i in range(10)]
    write_isic(root, 10)
    jpeg = isic_image(root, names[0])
    jpeg.write_bytes(jpeg.read_bytes()[:-40])  # some decoders would take it
    png = isic_mask(root, names[1])
    png.write_bytes(png.read_bytes()[:50])
    isic_image(root, names[2]).write_text("hello")
    isic_mask(root, names[2]).write_bytes(b"")
    write(isic_mask(root, names[3]), np.zeros((12, 15), np.uint8))
    write(isic_mask(root, names[4]), np.full((12, 16), 7, np.uint8))
    write(isic_mask(root, names[5]), noise(12, 16, 4))
    isic_mask(root, names[6]).unlink()
    isic_image(root, names[7]).unlink()
    return [
        ("image without mask", f"{names[6]}.jpg"),
        ("mask without image", f"{names[7]}_segmentation.png"),
        ("unreadable", f"{names[0]}.jpg"),
        ("unreadable", f"{names[1]}_segmentation.png"),
        ("unreadable", f"{names[2]}.jpg"),
        ("unreadable", f"{names[2]}_segmentation.png"),
        ("sizes differ", f"{names[3]}_segmentation.png"),
        ("labels outside the classes", f"{names[4]}_segmentation.png"),
        ("labels outside the classes", f"{names[5]}_segmentation.png"),
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_all_bad_files_are_listed(root, workers):
    expected = damage(root)
    assert found(root, num_workers=workers) == expected
    survey, _ = look_through(dataset_config(root))
    lines = bad_file_lines(survey)
    assert len(lines) == len(expected)
    assert lines[6].split("\t")[3] == "mask 12×15, image 12×16"
    assert lines[7].split("\t")[3] == "7"
    assert all(line.startswith("train\t") and "\n" not in line for line in lines)
    assert "0x" not in "".join(lines), "addresses in memory tell nothing"
    assert "unreadable: 4" in summary(survey)


def test_test_pipelines_and_augmented_ones_read_alike(root):
    expected = damage(root)
    resize = {"type": "Resize", "scale": (8, 8)}
    tta = {"type": "TestTimeAug", "transforms": [[resize], [LOADING[1]], [PIPELINE[-1]]]}
    for pipeline in ([LOADING[0], resize, *PIPELINE[1:]], [LOADING[0], tta]):
        assert found(root, dataset_config(root, pipeline=pipeline)) == expected


def test_masks_with_ignored_pixels_only(tmp_path):
    """The report counts them without an error: published sets have some."""
    root = write_cityscapes(tmp_path)
    path = next(root.rglob("*labelIds.png"))
    write(path, np.full_like(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), 255))
    survey, _ = look_through(cityscapes_config(root))
    assert survey.problems == []
    assert "masks without any labelled pixel: 1" in summary(survey)


def test_many_bad_files_are_cut_in_print_only(root):
    for i in range(6):
        isic_image(root, f"ISIC_{i:07d}").write_text("x")
        write(isic_mask(root, f"ISIC_{i:07d}"), np.full((12, 16), 9, np.uint8))
    survey, reader = look_through(dataset_config(root))
    assert len(bad_file_lines(survey)) == 12
    assert summary(survey).endswith("and 2 more")
    assert draw_contact_sheet(survey, reader) is None


def test_a_sheet_of_nothing_but_bad_labels(root):
    """The sheet shows people what is wrong."""
    for i in range(6):
        write(isic_mask(root, f"ISIC_{i:07d}"), np.full((12, 16), 9, np.uint8))
    isic_image(root, "ISIC_0000000").write_text("x")
    survey, reader = look_through(dataset_config(root))
    assert (survey.good, survey.read) == ([], [1, 2, 3, 4, 5])
    sheet = draw_contact_sheet(survey, reader)
    assert min(sheet.shape[:2]) > 2 * 288


def test_notes_of_cameras_after_the_end_are_no_damage(root):
    with isic_image(root, "ISIC_0000000").open("ab") as file:
        file.write(b"maker's notes")
    assert found(root) == []


def test_other_data_sets_of_mmseg(tmp_path):
    """BaseSegDataset checks nothing; labels 0 are ignored on request."""
    for name, value in (("a", 0), ("b", 1), ("c", 2), ("d", 3)):
        write(tmp_path / "img" / f"{name}.jpg", noise(8, 8, 3))
        write(tmp_path / "ann" / f"{name}.png", np.full((8, 8), value, np.uint8))
    (tmp_path / "ann" / "a.png").unlink()
    write(tmp_path / "ann" / "z.png", np.zeros((8, 8), np.uint8))
    dataset = {
        "type": "BaseSegDataset",
        "data_root": str(tmp_path),
        "data_prefix": {"img_path": "img", "seg_map_path": "ann"},
        "metainfo": {"classes": ("one", "two"), "palette": [[1, 1, 1], [2, 2, 2]]},
        "pipeline": PIPELINE,
    }
    bad = [("image without mask", "a.jpg"), ("mask without image", "z.png")]
    outside = "labels outside the classes"
    assert found(None, dataset) == [*bad, (outside, "c.png"), (outside, "d.png")]
    assert found(None, {**dataset, "reduce_zero_label": True}) == [*bad, (outside, "d.png")]
    (tmp_path / "list.txt").write_text("b\nnowhere\n")
    assert found(None, {**dataset, "ann_file": "list.txt"}) == [
        ("image without mask", "nowhere.jpg"),
        ("mask without image", "z.png"),
        ("unreadable", "nowhere.jpg"),
    ]
    survey, _ = look_through({**dataset, "indices": 2})
    assert survey.num_images == 2


def test_some_of_the_images(root):
    damage(root)
    survey, _ = look_through(dataset_config(root), max_images=3)
    assert survey.num_read == 3
    assert [p.kind for p in survey.problems[:2]] == ["image without mask", "mask without image"]


def test_a_test_without_masks(root):
    for i in range(6):
        isic_mask(root, f"ISIC_{i:07d}").unlink()
    survey, reader = look_through(dataset_config(root, test_mode=True))
    assert (survey.num_images, survey.num_masks, survey.problems) == (6, 0, [])
    assert draw_contact_sheet(survey, reader) is None
    assert summary(survey).startswith("train: 6 images, 0 with mask, 6 read")


def test_wrapped_data_sets_are_looked_through_one_by_one(root):
    fold = dict(fold=0, num_folds=3)
    parts = [dataset_config(root, fold_part=part, **fold) for part in ("train", "val")]
    wrapped = {"type": "RepeatDataset", "times": 2, "dataset": {"datasets": parts}}
    cfg = Config({"train_dataloader": {"dataset": wrapped}})
    named = build_datasets(cfg, "train")
    assert [name for name, _ in named] == ["train[0]", "train[1]"]
    assert [survey_dataset(*one)[0].num_images for one in named] == [4, 2]


def test_bad_configs(root):
    with pytest.raises(UserError, match="no val_dataloader"):
        build_datasets(Config({"train_dataloader": {"dataset": dataset_config(root)}}), "val")
    with pytest.raises(UserError, match="a BaseCDDataset"):
        look_through({"type": "BaseCDDataset", "data_root": str(root)})
    base = {"type": "BaseSegDataset", "data_root": str(root), "pipeline": PIPELINE}
    with pytest.raises(UserError, match="names no classes"):
        look_through(base)
    with pytest.raises(UserError, match=r"train: no images \*\.tiff"):
        look_through({**base, "img_suffix": ".tiff"})


def test_the_contact_sheet_shows_images_labels_and_names(root):
    survey, reader = look_through(dataset_config(root))
    sheet = draw_contact_sheet(survey, reader, count=4)
    one = draw_contact_sheet(survey, reader, count=1)
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] > 1.8 * one.shape[0]
    assert sheet.shape[1] > 1.8 * one.shape[1]
    lesion = np.array(survey.palette[1][::-1])
    assert (sheet == lesion).all(axis=-1).any(), "the legend's swatch"
    image = one[12 : 12 + 288, 12 : 12 + 384]
    assert image.std() > 20, "the image is noise, the sheet white"
    assert (one[-30:, :200] < 128).any(), "the name below"


@pytest.mark.parametrize("name", ["ade20k", "cityscapes", "isic2018"])
def test_real_images(name):
    cfg = Config.fromfile(ROOT / "configs" / "_base_" / "datasets" / f"{name}.py")
    if not (ROOT / cfg.data_root).is_dir():
        pytest.skip(f"no images in {cfg.data_root}")
    for part in ("train", "val", "test"):
        dataset = cfg[f"{part}_dataloader"].dataset
        dataset.data_root = str(ROOT / cfg.data_root)
        ((_, built),) = build_datasets(cfg, part)
        survey, reader = survey_dataset(part, built, max_images=3)
        assert survey.problems == []
        assert survey.good == sorted({i * survey.num_images // 3 for i in range(3)})
        assert min(draw_contact_sheet(survey, reader).shape[:2]) > 288
