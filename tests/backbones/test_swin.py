"""mmseg's Swin Transformer begins with what a file holds, or says why not."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.models.backbones.swin import SwinTransformer as MMSegSwinTransformer
from mmseg.registry import MODELS
from timm.models.swin_transformer import SwinTransformer as TimmSwin

from mmseg_deepvit import safe_loading
from mmseg_deepvit.backbones import SwinTransformer
from mmseg_deepvit.checkpoints.normalization import IMAGENET
from mmseg_deepvit.errors import CheckpointError

from ..checkpoints.published import cait
from ..checkpoints.swin_reference import (
    DEPTHS,
    DIMS,
    HEADS,
    PATCH,
    WINDOW,
    SwinReference,
    swin_state_dict,
)

safe_loading.install()

SETTINGS = {
    "embed_dims": DIMS,
    "depths": DEPTHS,
    "num_heads": HEADS,
    "window_size": WINDOW,
    "patch_size": PATCH,
    "strides": (PATCH, 2, 2),
    "out_indices": (0, 1, 2),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "swin.pth"


def begin(path, weights=None, **settings):
    init_cfg = {"type": "Pretrained", "checkpoint": str(path)}
    if weights:
        init_cfg["weights"] = weights
    model = MODELS.build(
        {"type": "mmseg.SwinTransformer", **SETTINGS, "init_cfg": init_cfg, **settings}
    )
    model.init_weights()
    model.eval()
    return model


def test_stands_in_for_mmsegs():
    assert MODELS.get("SwinTransformer") is SwinTransformer
    assert MODELS.get("mmseg.SwinTransformer") is SwinTransformer
    assert issubclass(SwinTransformer, MMSegSwinTransformer)


@pytest.mark.parametrize("classifier", [False, True])
@pytest.mark.parametrize("container", ["model", "state_dict"])
def test_a_file_with_the_swin_repositorys_names(path, classifier, container):
    """mmseg alone would take the norms and leave the rest random, without a word."""
    state = swin_state_dict(classifier)
    torch.save({container: state}, path)
    model = begin(path)
    images = torch.randn(1, 3, 36, 24)
    reference = SwinReference(state)
    for i, (out, expected) in enumerate(zip(model(images), reference(images), strict=True)):
        expected = (
            F.layer_norm(expected, expected.shape[-1:])
            if classifier
            else reference.norm(f"norm{i}", expected)
        )
        torch.testing.assert_close(out, expected.permute(0, 3, 1, 2), rtol=1e-5, atol=1e-5)
    assert model.trained_input == (str(path), IMAGENET)
    assert model.is_init


def test_a_file_of_timm(path):
    theirs = TimmSwin(
        img_size=48, patch_size=PATCH, embed_dim=DIMS, depths=DEPTHS, num_heads=HEADS, window_size=3
    )
    torch.save(theirs.state_dict(), path)
    model = begin(path)
    expected = theirs.layers[1].blocks[1].mlp.fc1.weight
    assert torch.equal(model.stages[1].blocks[1].ffn.layers[0][0].weight, expected)


def test_mmsegs_own_files_load_as_in_mmseg(path):
    """The tables of a segmentor of another window are resized."""
    theirs = MMSegSwinTransformer(**{**SETTINGS, "window_size": 5})
    theirs.init_weights()
    state = {f"backbone.{k}": v for k, v in theirs.state_dict().items() if "_index" not in k}
    torch.save({"state_dict": state | {"decode_head.a": torch.zeros(1)}}, path)
    expected = MMSegSwinTransformer(
        **SETTINGS, init_cfg={"type": "Pretrained", "checkpoint": str(path)}
    )
    expected.init_weights()
    torch.testing.assert_close(begin(path).state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_fewer_stages_than_the_file(path):
    torch.save({"model": swin_state_dict(classifier=False)}, path)
    model = begin(path, depths=(2, 2), num_heads=(1, 2), strides=(PATCH, 2), out_indices=(0, 1))
    assert len(model(torch.randn(1, 3, 24, 24))) == 2


@pytest.mark.parametrize("weights", [None, "ema", "model"])
def test_a_moving_average(path, weights):
    states = [swin_state_dict(classifier=True) for _ in range(2)]
    torch.save({"model": states[0], "model_ema": states[1]}, path)
    model = begin(path, weights)
    expected = states[weights == "ema"]["patch_embed.proj.bias"]
    assert torch.equal(model.patch_embed.projection.bias, expected)


def drop(state, part):
    return {k: v for k, v in state.items() if part not in k}


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda s: cait()[0], {}, r"holds a vision transformer \(family cait\) .*Swin Transformer"),
        (lambda s: {"fc.weight": torch.zeros(2)}, {}, "of no family that is known"),
        (
            lambda s: drop(s, "layers.2.blocks.1"),
            {},
            "only the model has stages.2.b.*depths",
        ),
        (lambda s: s, {"depths": (2, 1, 2)}, r"only the file has stages.1.blocks.1.*depths"),
        (lambda s: s, {"qkv_bias": False}, "only the file has .*qkv.bias.*qkv_bias"),
        (lambda s: s, {"embed_dims": 12}, "embed_dims, num_heads.*to match"),
        (lambda s: {k: v.to(torch.complex64) for k, v in s.items()}, {}, "complex64 numbers in"),
    ],
)
def test_other_models_are_refused_in_one_line(path, change, settings, message):
    torch.save(change(swin_state_dict(classifier=True)), path)
    with pytest.raises(CheckpointError, match=message) as caught:
        begin(path, **settings)
    assert "\n" not in str(caught.value)


def test_without_a_file_as_in_mmseg():
    def begun(cls):
        torch.manual_seed(0)
        model = cls(**SETTINGS)
        model.init_weights()
        return model

    theirs, ours = begun(MMSegSwinTransformer), begun(SwinTransformer)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert ours.trained_input is None
