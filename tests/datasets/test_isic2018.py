import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from mmseg_deepvit.datasets.demo import write_demo_dataset

from ..conftest import ROOT


def build(root, split, **overrides):
    config = {
        "type": "ISIC2018Dataset",
        "data_root": str(root),
        "data_prefix": {
            "img_path": f"ISIC2018_Task1-2_{split}_Input",
            "seg_map_path": f"ISIC2018_Task1_{split}_GroundTruth",
        },
        "pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": "LoadAnnotations"},
            {"type": "PackSegInputs"},
        ],
    }
    init_default_scope("mmseg")
    return DATASETS.build({**config, **overrides})


def test_reads_published_masks_as_classes(tmp_path):
    write_demo_dataset(tmp_path / "isic", num_train=3, num_val=2, size=32)
    dataset = build(tmp_path / "isic", "Training")
    assert len(dataset) == 3
    assert dataset.metainfo["classes"] == ("background", "lesion")
    for i in range(3):
        sample = dataset[i]["data_samples"]
        mask = cv2.imread(sample.seg_map_path, cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) == {0, 255}
        assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), mask // 255)


@pytest.mark.parametrize(("split", "count"), [("Training", 1600), ("Validation", 400)])
def test_real_images(split, count):
    root = ROOT / "data" / "isic2018"
    if not root.is_dir():
        pytest.skip("no ISIC 2018 images in data/isic2018")
    dataset = build(root, split)
    assert len(dataset) == count
    sample = dataset[7]["data_samples"]
    assert sample.img_shape == (256, 256)
    assert sample.gt_sem_seg.data.unique().tolist() == [0, 1]
