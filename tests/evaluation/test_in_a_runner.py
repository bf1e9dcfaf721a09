"""Metrics in mmengine's runner: several processes, and the best checkpoint."""

import csv
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn
from torch.utils.data import Dataset

import mmseg_deepvit  # noqa: F401  (registers the metric, in spawned processes too)
from mmseg_deepvit.engine import ValidationLossHook
from mmseg_deepvit.evaluation.confusion_files import MATRIX

from .cases import CLASSES, random_pairs, sample

NUM_IMAGES = 7


def evaluate(csv_path):
    """Evaluate seven images in two processes, each with its part."""
    init_default_scope("mmseg")
    config = dict(type="PerImageMetric", metrics=["Dice", "HD95"], csv_path=csv_path)
    evaluator = Evaluator([config, dict(type="ConfusionMetric", out_dir=f"{csv_path}-matrix")])
    evaluator.dataset_meta = {"classes": CLASSES}
    pairs = random_pairs(2, count=NUM_IMAGES)
    losses = ValidationLossHook()
    losses._losses = []
    for i in DefaultSampler(range(NUM_IMAGES), shuffle=False):  # pads to an even number
        evaluator.process([sample(*pairs[i], f"{i}.png")])
        losses._losses.append({"loss": float(i)} if i else {})  # the first has no labelled pixel
    count, metrics = len(evaluator.metrics[0].results), evaluator.evaluate(NUM_IMAGES)
    loader = SimpleNamespace(dataset=pairs)
    losses.after_val_epoch(SimpleNamespace(val_dataloader=loader), metrics)
    return count, metrics


def work(rank, folder, results):
    torch.set_num_threads(1)
    os.chdir(folder)  # mmengine exchanges files below the current folder
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2
    )
    np.random.seed(rank)
    results[rank] = evaluate(str(folder / f"written_by_{rank}.csv"))
    dist.destroy_process_group()


@pytest.mark.timeout(300)
def test_two_processes_count_each_image_once(tmp_path):
    results = mp.Manager().dict()
    mp.spawn(work, (tmp_path, results), nprocs=2)
    shares, metrics = zip(*(results[rank] for rank in (0, 1)), strict=True)
    assert shares == (4, 4)  # one image twice
    alone = tmp_path / "alone.csv"
    _, expected = evaluate(str(alone))
    assert metrics[0] == metrics[1] == expected
    assert expected["loss"] == sum(range(1, NUM_IMAGES)) / (NUM_IMAGES - 1)
    matrices = (tmp_path / f"{name}.csv-matrix" / MATRIX for name in ("written_by_0", "alone"))
    assert len({path.read_text() for path in matrices}) == 1
    assert (tmp_path / "written_by_0.csv").read_bytes() == alone.read_bytes()
    assert not (tmp_path / "written_by_1.csv").exists()
    with alone.open(newline="") as file:
        images = [row["image"] for row in csv.DictReader(file)]
    assert images == [f"{i}.png" for i in range(NUM_IMAGES) for _ in CLASSES]


class Squares(Dataset):
    metainfo = {"classes": CLASSES}

    def __len__(self):
        return 2

    def __getitem__(self, i):
        truth = torch.zeros(1, 8, 8, dtype=torch.long)
        truth[:, 2:6, 2:6] = 1
        labels = PixelData(data=truth)
        sample = SegDataSample(metainfo={"img_path": f"{i}.png"}, gt_sem_seg=labels)
        return dict(inputs=torch.zeros(3, 8, 8), data_samples=sample)


class GrowingSquare(BaseModel):
    """A model that finds 2, 4 and 3 rows of the lesion's 4 in epochs 1, 2 and 3."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.validations = 0

    def forward(self, inputs, data_samples, mode):
        if mode == "loss":
            return {"loss": self.weight.square().sum()}
        rows = (2, 4, 3)[self.validations]
        for each in data_samples:
            found = torch.zeros(1, 8, 8, dtype=torch.long)
            found[:, 2 : 2 + rows, 2:6] = 1
            each.set_data({"pred_sem_seg": PixelData(data=found)})
        self.validations += 1
        return data_samples


@pytest.fixture
def _no_singletons_left():
    yield
    MessageHub._instance_dict.clear()
    MMLogger._instance_dict.clear()


@pytest.mark.usefixtures("_no_singletons_left")
def test_the_best_checkpoint_is_kept_by_dice(tmp_path):
    loader = dict(
        dataset=Squares(),
        batch_size=2,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type="pseudo_collate"),
    )
    best = dict(type="CheckpointHook", interval=1, save_best="per_image/Dice", rule="greater")
    runner = Runner(
        model=GrowingSquare(),
        work_dir=str(tmp_path),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=dict(type="PerImageMetric", classes=["lesion"], csv_path="auto"),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        default_hooks=dict(checkpoint=best),
        default_scope="mmseg",
        experiment_name=tmp_path.name,
    )
    runner.train()
    assert [path.name for path in tmp_path.glob("best_*")] == ["best_per_image_Dice_epoch_2.pth"]
    assert runner.message_hub.get_info("best_score") == 100
    logged = runner.message_hub.get_scalar("val/per_image/Dice").data[0]
    assert logged.tolist() == pytest.approx([100 * 2 / 3, 100, 100 * 6 / 7])
    (table,) = tmp_path.glob("*/per_image.csv")
    assert table.parent == tmp_path / runner.timestamp
    assert "lesion" in (tmp_path / runner.timestamp / f"{runner.timestamp}.log").read_text()
    assert len(table.read_text().splitlines()) == 3
