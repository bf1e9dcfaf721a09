import pytest
import torch
from mmengine.config import Config

from mmseg_deepvit.checkpoints import (
    Checkpoint,
    Normalization,
    normalization_meta,
    read_backbone,
    read_checkpoint,
    save_safetensors,
    saved_normalization,
)
from mmseg_deepvit.checkpoints.normalization import HALF, IMAGENET
from mmseg_deepvit.checkpoints.timm_hub import timm_normalization
from mmseg_deepvit.errors import CheckpointError

from ..conftest import ROOT
from .published import FILES
from .swin_reference import swin_state_dict

#: What each published file of a vision transformer tells by its keys.
KNOWN = {
    "deepvit": HALF,
    "deepvit-fc": HALF,
    "diversepatch": IMAGENET,
    "cait-deit": IMAGENET,
    "cait-timm": IMAGENET,
    "deit-distilled": IMAGENET,
    "deit-3": IMAGENET,
    "mae": IMAGENET,
    "dinov2": IMAGENET,
    "dinov2-sharded": IMAGENET,
}


@pytest.mark.parametrize("file", FILES)
def test_published_files_tell_by_their_keys(file, tmp_path):
    """A plain transformer's may be DeiT's or augreg's: it tells nothing."""
    _, make, wrap = FILES[file]
    torch.save(wrap(make()[0]), tmp_path / "a.pth")
    assert read_backbone(tmp_path / "a.pth", "trunk").normalization == KNOWN.get(file)


def test_swins_tell_by_their_keys(tmp_path):
    torch.save({"model": swin_state_dict(classifier=True)}, tmp_path / "a.pth")
    assert read_backbone(tmp_path / "a.pth", "swin").normalization == IMAGENET


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("timm://vit_small_patch16_224.augreg_in21k", HALF),
        ("vit_tiny_patch16_224", HALF),
        ("deit_small_patch16_224.fb_in1k", IMAGENET),
        ("timm://cait_s24_384.fb_dist_in1k", IMAGENET),
        ("vit_small_patch14_reg4_dinov2.lvd142m", IMAGENET),
    ],
)
def test_timm_tells_by_name(name, expected):
    assert timm_normalization(name) == expected


def test_timm_has_others():
    clip = timm_normalization("vit_base_patch16_clip_224.openai")
    assert not clip.agrees(IMAGENET)
    assert clip.mean == pytest.approx((122.771, 116.746, 104.094))
    with pytest.raises(CheckpointError, match="timm has no model"):
        timm_normalization("timm://vit_smal_patch16_224")


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_file_that_says_it(ending, tmp_path):
    """Goes before what keys tell: files that convert_checkpoint writes have our names."""
    told = Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    state, path = FILES["deepvit"][1]()[0], tmp_path / f"a.{ending}"
    if ending == "pth":
        torch.save({"state_dict": state, "meta": normalization_meta(told)}, path)
    else:
        save_safetensors(path, state, normalization_meta(told))
    assert saved_normalization(read_checkpoint(path)) == told
    assert read_backbone(path, "trunk").normalization == told


def test_a_segmentor_that_mmengine_saved():
    cfg = Config.fromfile(ROOT / "configs/upernet_cait-s24_ade20k.py")
    told = saved_normalization(Checkpoint({"meta": {"cfg": cfg.pretty_text}}, "a.pth"))
    assert told == Normalization(
        tuple(cfg.model.data_preprocessor.mean), tuple(cfg.model.data_preprocessor.std)
    )


@pytest.mark.parametrize(
    "meta",
    [
        None,
        {},
        {"cfg": None},
        {"cfg": "model = open('x')"},
        {"cfg": "model = 3"},
        {"cfg": "model = dict(data_preprocessor=dict(mean=None))"},
        {"normalization": {"mean": [1, 2, 3]}},
        {"normalization": {"mean": "abc", "std": [1, 2, 3]}},
        {"normalization": {"mean": [[1], [2], [3]], "std": [1, 2, 3]}},
        {"normalization": [1, 2, 3]},
    ],
)
def test_files_that_say_nothing(meta):
    assert saved_normalization(Checkpoint({"meta": meta, "state_dict": {}}, "a.pth")) is None
