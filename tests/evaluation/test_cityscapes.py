import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.datasets import CityscapesDataset
from mmseg.registry import METRICS
from PIL import Image

from mmseg_deepvit.errors import UserError

from ..datasets.published import OFFICIAL

CLASSES = CityscapesDataset.METAINFO["classes"]


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


def test_a_class_without_label_id_is_refused(tmp_path):
    with pytest.raises(ValueError, match="output_dir"):
        metric(format_only=True)
    writer = metric(("road", "pothole"), output_dir=str(tmp_path), format_only=True)
    with pytest.raises(UserError, match="no label id for pothole"):
        writer.process({}, [sample("a_0_1", torch.zeros(2, 2, dtype=torch.int64))])
