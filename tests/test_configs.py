"""Every config builds whole, on the meta device where that goes, and shrunk learns and predicts."""

import re

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample

from mmseg_deepvit.command_line import load_config
from mmseg_deepvit.command_line.flops import cost_line, count_cost

from .conftest import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
SIDE = 64
SPARED = ("pos_embed", "_token", "norm", "_mix", ".ls", "relative_position_bias_table")


def shrink(cfg):
    """Few blocks, narrow heads, random weights and images of 64²; the rest stays."""
    backbone = cfg.model.backbone
    backbone.pop("init_cfg", None)
    if backbone.type == "SwinTransformer":
        backbone.depths = [1, 1, 2, 1]
        if "diversity" in cfg.model:
            cfg.model.diversity.last = "stages.2.blocks.1"
    else:
        several = not isinstance(backbone.out_indices, int) and len(backbone.out_indices) == 4
        backbone.update(
            num_layers=4,
            num_mixing_layers=0 if backbone.type == "PlainViT" else 2,
            img_size=SIDE,
            out_indices=(0, 1, 2, 3) if several else (-1,),
        )
    if isinstance(backbone.get("arch"), dict):
        backbone.arch = {**backbone.arch, "num_layers": 4}
    if cfg.model.decode_head.type == "UPerHead":
        cfg.model.decode_head.channels = 32
    cfg.model.data_preprocessor.size = (SIDE, SIDE)
    if cfg.model.test_cfg.mode == "slide":
        cfg.model.test_cfg.update(crop_size=(SIDE, SIDE), stride=(SIDE // 2, SIDE // 2))
    return cfg


def batch(num_classes, sizes):
    """Raw images and samples as a dataloader gives them."""
    samples = []
    for size in sizes:
        sample = SegDataSample(
            gt_sem_seg=PixelData(data=torch.randint(0, num_classes, (1, *size))),
            metainfo={"img_shape": size, "ori_shape": size, "pad_shape": size},
        )
        samples.append(sample)
    inputs = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    return {"inputs": inputs, "data_samples": samples}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_builds_whole_and_costs_what_it_says(path):
    """The header's figures are those of tools/get_flops.py, which builds the model."""
    cfg = load_config(str(path))
    shape = tuple(cfg.model.data_preprocessor.size)
    header = path.read_text().split("_base_ =")[0]
    assert f"# Cost:    {cost_line(count_cost(cfg.model, shape), shape)}\n" in header
    assert "# Paper:" in header
    assert "# Start:" in header
    classes = DATASETS.get(cfg.train_dataloader.dataset.type).METAINFO["classes"]
    heads = [cfg.model[k] for k in ("decode_head", "auxiliary_head") if k in cfg.model]
    unscored = cfg.model.test_cfg.get("unscored_classes", 0)
    assert {head.num_classes for head in heads} == {len(classes) + unscored}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_loss_and_predict_shrunk(path):
    cfg = shrink(load_config(str(path)))
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    labels = model.scored_classes
    data = model.data_preprocessor(batch(labels, [(SIDE, SIDE)] * 2), training=True)
    losses = model(**data, mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []

    model.eval()
    sizes = [(SIDE + 32, SIDE)] if cfg.model.test_cfg.mode == "slide" else [(SIDE, SIDE)]
    with torch.no_grad():
        (result,) = model.test_step(batch(labels, sizes))
    predicted = result.pred_sem_seg.data
    assert predicted.shape == (1, *sizes[0])
    assert np.isin(predicted.unique(), range(labels)).all()


@pytest.mark.parametrize(
    "path", [p for p in CONFIGS if p.stem.startswith("probe")], ids=lambda p: p.stem
)
def test_a_probe_trains_its_head_alone(path):
    """Steps change all of the head, and nothing of the backbone; the loss falls."""
    cfg = shrink(load_config(str(path)))
    model = MODELS.build(cfg.model)
    model.init_weights()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    data = batch(model.scored_classes, [(SIDE, SIDE)] * 2)
    losses = [model.train_step(data, wrapper)["loss"].item() for _ in range(4)]
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {n for n in before if n.startswith("decode_head")}
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_images_are_normalised_as_the_weights_take_them(path):
    """Published DeepViTs have a named arch, AugReg's ViTs their name; the rest takes ImageNet's."""
    model = load_config(str(path)).model
    published = model.backbone.type == "DeepViT" and isinstance(model.backbone.get("arch"), str)
    from_scratch = any(word in path.stem for word in ("128x128", "256x256", "demo"))
    augreg = "augreg" in (model.backbone.get("init_cfg") or {}).get("checkpoint", "")
    halves = augreg or (published and not from_scratch)
    assert (model.data_preprocessor.mean == [127.5] * 3) == halves
    assert (model.data_preprocessor.std == [127.5] * 3) == halves


LEAF = """
_base_ = ["{0}/configs/_base_/backbones/{1}.py", "{0}/configs/_base_/tasks/linear_ade20k.py"]
model = {{{{_base_.under_linear}}}}
"""
LINEAR = "".join(path.read_text() for path in CONFIGS if path.stem.startswith("linear"))
BACKBONES = sorted(
    path.stem
    for path in (ROOT / "configs/_base_/backbones").glob("[!sw]*.py")  # no Swin, no mere sizes
    if f"backbones/{path.name}" not in LINEAR
)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_any_backbone_goes_with_a_task(tmp_path, backbone):
    """Also where no config of ours has them together."""
    (tmp_path / "config.py").write_text(LEAF.format(ROOT, backbone))
    cfg = load_config(str(tmp_path / "config.py"))
    shape = (112, 112)
    cfg.model.backbone.img_size = shape
    assert count_cost(cfg.model, shape).parameters > 0


def test_the_published_recipe_of_cityscapes():
    """Scales and windows of the published config; a class that is never scored."""
    cfg = load_config(str(ROOT / "configs/upernet_diversepatch-swin-l_cityscapes-1025x1025.py"))
    assert [step.scale for step in cfg.train_pipeline if "scale" in step] == [(2049, 1025)]
    assert [step.scale for step in cfg.test_pipeline if "scale" in step] == [(2049, 1025)]
    assert cfg.model.test_cfg == {"mode": "whole", "unscored_classes": 1}
    assert cfg.test_dataloader.dataset.pipeline == cfg.test_pipeline


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_the_rate_is_for_the_batch_that_the_start_line_makes(path):
    """So auto_scale_lr.enable=True changes nothing when a config is started as it says."""
    several = re.search(r"^#.* tools/dist_train\.sh \S+ (\d+)", path.read_text(), re.M)
    devices = int(several[1]) if several else 1
    cfg = load_config(str(path))
    assert cfg.auto_scale_lr.base_batch_size == devices * cfg.train_dataloader.batch_size


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_decay_spares_positions_tokens_norms_and_mixes(path):
    cfg = shrink(load_config(str(path)))
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decayed = {
        id(p) for g in wrapper.optimizer.param_groups if g["weight_decay"] for p in g["params"]
    }
    if not wrapper.optimizer.defaults["weight_decay"]:
        assert not decayed
        return
    for name, parameter in model.backbone.named_parameters():
        spared = any(part in name for part in SPARED) or not parameter.requires_grad
        assert (id(parameter) in decayed) != spared, name
