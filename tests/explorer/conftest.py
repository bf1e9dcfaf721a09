"""A small model with everything that the explorer shows, and one without attention over patches."""

import cv2
import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from mmseg_deepvit.command_line import load_config
from mmseg_deepvit.explorer.looking import ExploredModel
from mmseg_deepvit.inference import load_segmentor

from ..conftest import ROOT

#: Three blocks, the last of which mixes its two heads, on crops of 32².
DEEPVIT = f"""
_base_ = ["{ROOT}/configs/upernet_deepvit-w128-d6_isic2018-128x128.py"]
model = dict(
    data_preprocessor=dict(size=(32, 32)),
    backbone=dict(
        num_layers=3, num_mixing_layers=1, embed_dims=16, num_heads=2, img_size=(32, 32),
        out_indices=(0, 1, 1, 2),
    ),
    neck=dict(embed_dim=16),
    decode_head=dict(in_channels=[16] * 4, channels=8),
    auxiliary_head=dict(in_channels=16, channels=8),
)
"""
#: The same for five bands of 12 bits.
BANDS = f"""{DEEPVIT}
model["backbone"]["in_channels"] = 5
model["data_preprocessor"].update(
    type="BandDataPreProcessor", mean=[99, 100, 101, 102, 103], std=[40, 50, 60, 70, 80]
)
test_pipeline = [
    dict(type="LoadBands", bands=range(5), value_range=(0, 4095)),
    dict(type="Resize", scale=(64, 64), keep_ratio=True),
    dict(type="PackSegInputs"),
]
"""
SWIN = f"""
_base_ = ["{ROOT}/configs/upernet_deepvit-w128-d6_isic2018-128x128.py"]
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(
        _delete_=True, type="SwinTransformer", embed_dims=12, depths=(2, 1, 1, 1),
        num_heads=(1, 1, 2, 2), window_size=4,
    ),
    neck=None,
    decode_head=dict(in_channels=[12, 24, 48, 96], channels=8),
    auxiliary_head=dict(in_channels=48, channels=8),
)
"""


def write_model(folder, text):
    """Write a config and a checkpoint with random weights; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    config, checkpoint = folder / "model.py", folder / "model.pth"
    config.write_text(text)
    torch.manual_seed(0)
    model = MODELS.build(load_config(str(config)).model)
    meta = {"classes": ("background", "lesion"), "palette": [[0, 0, 0], [255, 60, 60]]}
    torch.save({"state_dict": model.state_dict(), "meta": {"dataset_meta": meta}}, checkpoint)
    return config, checkpoint


def load(config, checkpoint):
    model = load_segmentor(load_config(str(config)), checkpoint)
    return ExploredModel(model, str(config), "a model"), model


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Return paths of config and checkpoint of the small DeepViT."""
    return write_model(tmp_path_factory.mktemp("deepvit"), DEEPVIT)


@pytest.fixture(scope="session")
def deepvit(files):
    """Return the explored model, and the segmentor in it."""
    return load(*files)


@pytest.fixture(scope="session")
def band_files(tmp_path_factory):
    """Return paths of config and checkpoint of the small DeepViT for five bands."""
    return write_model(tmp_path_factory.mktemp("bands"), BANDS)


@pytest.fixture(scope="session")
def bands(band_files):
    """Return the explored model, and the segmentor in it."""
    return load(*band_files)


@pytest.fixture(scope="session")
def swin(tmp_path_factory):
    """Return the explored model, and the segmentor in it."""
    return load(*write_model(tmp_path_factory.mktemp("swin"), SWIN))


@pytest.fixture(scope="session")
def image():
    """Return a picture, (40, 60, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (60, 40))
