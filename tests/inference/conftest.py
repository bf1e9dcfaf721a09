"""A small trained-looking model as files: two blocks on images of 32², two classes."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from mmseg_deepvit.command_line import load_config

from ..conftest import ROOT
from ..export.conftest import randomize_norms, small

__all__ = ["small"]

CONFIG = ROOT / "configs/upernet_deepvit-w128-d6_isic2018-128x128.py"
OPTIONS = {
    "model.data_preprocessor.size": (32, 32),
    "model.backbone.num_layers": 2,
    "model.backbone.num_mixing_layers": 1,
    "model.backbone.embed_dims": 16,
    "model.backbone.num_heads": 2,
    "model.backbone.img_size": (32, 32),
    "model.backbone.out_indices": (0, 0, 1, 1),
    "model.neck.embed_dim": 16,
    "model.decode_head.in_channels": [16] * 4,
    "model.decode_head.channels": 8,
    "model.auxiliary_head.in_channels": 16,
    "model.auxiliary_head.channels": 8,
}
CLASSES, PALETTE = ["background", "lesion"], [[0, 0, 0], [255, 0, 0]]


def make_model(**options):
    """The model with random statistics and logits far from zero, and its config."""
    cfg = load_config(str(CONFIG), {**OPTIONS, **options})
    torch.manual_seed(0)
    model = MODELS.build(cfg.model.copy()).eval()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    randomize_norms(model)
    return model.eval(), cfg


def save(path, model, text):
    """A checkpoint as mmengine writes it; None for a config leaves it out."""
    meta = {"dataset_meta": {"classes": CLASSES, "palette": PALETTE}}
    meta |= {} if text is None else {"cfg": text}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, path)
    return path


def picture(height=40, width=56, seed=0):
    """Smooth colours: noise would put many pixels between two classes."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Checkpoint with its config, model, config, and a folder of three images with a bad one."""
    folder = tmp_path_factory.mktemp("saved")
    model, cfg = make_model()
    images = folder / "images"
    images.mkdir()
    for i, name in enumerate(("a", "b", "d")):
        cv2.imwrite(str(images / f"{name}.png"), picture(40 + i, 56, i))
    (images / "c.jpg").write_bytes(b"no image")
    path = save(folder / "model.pth", model, cfg.pretty_text)
    return SimpleNamespace(path=path, model=model, cfg=cfg, images=images, folder=folder)
