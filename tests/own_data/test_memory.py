import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_deepvit.command_line.benchmark import peak_memory
from mmseg_deepvit.own_data.memory import memory_words, training_memory

from ..conftest import ROOT

CONFIG = ROOT / "configs/upernet_deepvit-w64-d12_isic2018-128x128.py"


def step(cfg, batch):
    model = MODELS.build(cfg).train()
    optimizer = torch.optim.AdamW(model.parameters())
    image = torch.randn(batch, 3, 128, 128)
    labels = torch.randint(0, 2, (batch, 1, 128, 128))
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=label), metainfo={"img_shape": (128, 128)})
        for label in labels
    ]
    losses = model.loss(image, samples)
    sum(v for k, v in losses.items() if "loss" in k).backward()
    optimizer.step()


def test_estimates_agree_with_a_step():
    """A smaller step first, as libraries take their own memory once."""
    init_default_scope("mmseg")
    cfg = Config.fromfile(CONFIG).model
    step(cfg, 2)
    measured = peak_memory(lambda: step(cfg, 16), torch.device("cpu"))
    if measured is None:
        pytest.skip("the system does not tell the peak of memory")
    assert 0.6 < training_memory(cfg, 16, 3, 128) / measured < 1.4


def test_words():
    assert memory_words(1_540_000_000) == "1.5 GB"
    assert memory_words(23_400_000_000) == "23 GB"
