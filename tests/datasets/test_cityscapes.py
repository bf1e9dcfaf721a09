import shutil

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.datasets import CityscapesDataset
from mmseg.registry import METRICS
from PIL import Image

from mmseg_deepvit.datasets.cityscapes import TRAIN_IDS
from mmseg_deepvit.errors import UserError

from ..conftest import ROOT
from .published import build as build_any
from .published import write, write_cityscapes

#: cityscapesScripts, helpers/labels.py: the train ids of label ids 0 to 33, then of 255 (-1).
OFFICIAL = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13]
OFFICIAL += [14, 15, 255, 255, 16, 17, 18, 255]
ALL_IDS = [*range(34), 255]
CLASSES = CityscapesDataset.METAINFO["classes"]


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
    assert dataset.metainfo["classes"] == CLASSES
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


def metric(classes=CLASSES, **arguments):
    init_default_scope("mmseg")
    metric = METRICS.build({"type": "CityscapesIoUMetric", **arguments})
    metric.dataset_meta = {"classes": classes}
    return metric


def sample(name, labels, truth=None):
    data = {"img_path": f"/x/{name}_leftImg8bit.png", "pred_sem_seg": {"data": labels[None]}}
    return data if truth is None else {**data, "gt_sem_seg": {"data": truth[None]}}


def test_predictions_are_written_as_the_server_takes_them(tmp_path):
    labels = torch.arange(19).reshape(1, 19).repeat(3, 1)
    writer = metric(output_dir=str(tmp_path / "out"), format_only=True)
    names = ["berlin_000000_000019", "berlin_000001_000019"]
    writer.process({}, [sample(name, labels) for name in names])
    assert writer.evaluate(2) == {}
    for name in names:
        (path,) = (tmp_path / "out").glob(f"{name}*.png")  # the server's own pattern
        image = Image.open(path)
        assert image.mode == "L"
        ids = np.array(image)
        assert ids.shape == (3, 19)
        assert [OFFICIAL[i] for i in ids[1]] == list(range(19))
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_scores_are_those_of_the_parent(tmp_path):
    torch.manual_seed(1)
    truth = torch.randint(0, 19, (40, 40))
    labels = torch.where(torch.rand(40, 40) < 0.3, truth, torch.randint(0, 19, (40, 40)))
    parent = METRICS.build({"type": "IoUMetric"})
    parent.dataset_meta = {"classes": CLASSES}
    for one in (parent, ours := metric(output_dir=str(tmp_path))):
        one.process({}, [sample("a_0_1", labels, truth)])
    assert ours.evaluate(1) == parent.evaluate(1)
    assert [p.name for p in tmp_path.iterdir()] == ["a_0_1_leftImg8bit.png"]


def test_what_has_no_label_id_is_refused(tmp_path):
    with pytest.raises(ValueError, match="output_dir"):
        metric(format_only=True)
    writer = metric(("road", "pothole"), output_dir=str(tmp_path), format_only=True)
    with pytest.raises(UserError, match="no label id for pothole"):
        writer.process({}, [sample("a_0_1", torch.zeros(2, 2, dtype=torch.int64))])


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
