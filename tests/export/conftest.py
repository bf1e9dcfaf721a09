"""Small segmentors of our configs, with random statistics."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import DATASETS, MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_deepvit.command_line import load_config

from ..conftest import ROOT

SIDE = 64


def randomize_norms(model):
    """Draw statistics and affine parameters, which are 0 and 1 in a new model."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.05)
            module.running_var.uniform_(0.5, 1.5)
            if module.affine:
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0, 0.05)


@pytest.fixture
def small():
    """Builder of a config's segmentor with two blocks for 64²; options are dotted keys."""

    def build(name, **options):
        cfg = load_config(str(ROOT / "configs" / f"{name}.py"))
        backbone = cfg.model.backbone
        backbone.pop("init_cfg", None)
        if backbone.type == "SwinTransformer":
            backbone.update(embed_dims=12, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8])
            backbone.update(window_size=4)
            cfg.model.decode_head.in_channels = [12, 24, 48, 96]
            cfg.model.auxiliary_head.in_channels = 48
        else:
            several = "neck" in cfg.model
            backbone.update(num_layers=2, num_mixing_layers=1, img_size=SIDE)
            backbone.out_indices = (0, 0, 1, 1) if several else (-1,)
        if cfg.model.decode_head.type == "UPerHead":
            cfg.model.decode_head.channels = 16
        cfg.model.data_preprocessor.size = (SIDE, SIDE)
        if cfg.test_pipeline[1].keep_ratio:
            cfg.test_pipeline[1].scale = (256, 70)
        if cfg.model.test_cfg.mode == "slide":
            cfg.model.test_cfg.update(crop_size=(SIDE, SIDE), stride=(48, 48))
        cfg.merge_from_dict(options)
        model = MODELS.build(ConfigDict(cfg.model)).eval()
        model.init_weights()
        # Logits of a new head are almost zero.
        torch.nn.init.normal_(model.decode_head.conv_seg.weight)
        randomize_norms(model)
        model.cfg = cfg
        model.dataset_meta = DATASETS.get(cfg.train_dataloader.dataset.type).METAINFO
        return model.eval()

    return build
