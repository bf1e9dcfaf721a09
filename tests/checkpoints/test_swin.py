import pytest
import torch
import torch.nn.functional as F
from mmseg.models.utils.embed import PatchMerging
from mmseg.registry import MODELS
from timm.models.swin_transformer import PatchMerging as TimmPatchMerging
from timm.models.swin_transformer import SwinTransformer as TimmSwin

from mmseg_deepvit.checkpoints import (
    Checkpoint,
    convert,
    convert_checkpoint,
    find_family,
    get_family,
)
from mmseg_deepvit.checkpoints.swin import unfold_order

from .swin_reference import DEPTHS, DIMS, HEADS, PATCH, WINDOW, SwinReference, swin_state_dict


def mmseg_swin(**settings):
    config = {
        "type": "mmseg.SwinTransformer",
        "embed_dims": DIMS,
        "depths": DEPTHS,
        "num_heads": HEADS,
        "window_size": WINDOW,
        "patch_size": PATCH,
        "strides": (PATCH, 2, 2),
        "out_indices": (0, 1, 2),
        **settings,
    }
    model = MODELS.build(config)
    model.eval()
    return model


def load(model, state):
    """Load, as mmseg does; only what a model makes itself may be missing."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    return [k for k in missing if not k.endswith("relative_position_index")]


@pytest.mark.parametrize("size", [(36, 36), (22, 34)])  # full windows, and padded ones
def test_a_published_backbone_computes_the_same_in_mmseg(size):
    state = Checkpoint(swin_state_dict(classifier=False), "a")
    family = find_family(state)
    assert family.name == "swin"
    model = mmseg_swin()
    model.load_state_dict(convert(state, family).state)  # each name, index buffers too
    images = torch.randn(2, 3, *size)
    reference = SwinReference(state)
    for i, (out, expected) in enumerate(zip(model(images), reference(images), strict=True)):
        expected = reference.norm(f"norm{i}", expected).permute(0, 3, 1, 2)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


def test_a_published_classifier_computes_the_same_in_mmseg():
    """The norm after the last stage is the classifier's; mmseg's own norms are at their start."""
    state = swin_state_dict(classifier=True)
    conversion = convert_checkpoint(Checkpoint({"model": state}, "a"))
    assert conversion.dropped["norm.weight"] == "classifier"
    assert conversion.dropped["head.bias"] == "classifier"
    assert conversion.dropped["layers.0.blocks.1.attn_mask"] == "made by the model"
    index = "layers.0.blocks.0.attn.relative_position_index"
    assert conversion.dropped[index] == "made by the model"
    assert len(conversion.renamed) + len(conversion.dropped) == len(state)
    assert set(conversion.state) == set(conversion.renamed.values())

    model = mmseg_swin()
    assert all(key.startswith("norm") for key in load(model, conversion.state))
    images = torch.randn(1, 3, 36, 24)
    for out, expected in zip(model(images), SwinReference(state)(images), strict=True):
        expected = F.layer_norm(expected, expected.shape[-1:]).permute(0, 3, 1, 2)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


def test_a_model_of_another_window_resizes_the_tables(tmp_path):
    """Only without index buffers, which would not fit."""
    conversion = convert_checkpoint(Checkpoint({"model": swin_state_dict(classifier=True)}, "a"))
    torch.save({"state_dict": conversion.state}, tmp_path / "a.pth")
    checkpoint = {"type": "Pretrained", "checkpoint": str(tmp_path / "a.pth")}
    model = mmseg_swin(window_size=5, init_cfg=checkpoint)
    model.init_weights()
    name = "stages.1.downsample.reduction.weight"
    assert torch.equal(model.state_dict()[name], conversion.state[name])
    assert model.stages[0].blocks[0].attn.w_msa.relative_position_bias_table.shape == (81, 1)


def test_timm_computes_the_same_in_mmseg():
    theirs = TimmSwin(
        img_size=96, patch_size=4, embed_dim=8, depths=(2, 2, 2), num_heads=(1, 2, 2), window_size=3
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = Checkpoint(theirs.state_dict(), "a")
    family = find_family(state)
    assert family.name == "timm_swin"
    conversion = convert(state, family)
    assert all(key.startswith(("norm", "head")) for key in conversion.dropped)
    settings = {"patch_size": 4, "strides": (4, 2, 2), "embed_dims": 8, "num_heads": (1, 2, 2)}
    model = mmseg_swin(**settings)
    assert all(key.startswith("norm") for key in load(model, conversion.state))
    images = torch.randn(1, 3, 96, 96)
    x = theirs.patch_embed(images)
    for out, stage in zip(model(images), theirs.layers, strict=True):
        x = stage(x)
        expected = F.layer_norm(x, x.shape[-1:]).permute(0, 3, 1, 2)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_patch_merging(size):
    """The layer alone: reference, timm's and mmseg's agree, and do not without reordering."""
    dims = 5
    state = {
        "m.norm.weight": torch.randn(4 * dims),
        "m.norm.bias": torch.randn(4 * dims),
        "m.reduction.weight": torch.randn(2 * dims, 4 * dims),
    }
    x = torch.randn(2, *size, dims)
    expected = SwinReference(state).merge("m", x)
    timm_layer, mmseg_layer = TimmPatchMerging(dims), PatchMerging(dims, 2 * dims)
    plain = {k.removeprefix("m."): v for k, v in state.items()}
    timm_layer.load_state_dict(plain)
    if size == (6, 8):  # timm's older ones take no odd sizes
        torch.testing.assert_close(timm_layer(x), expected, rtol=1e-5, atol=1e-5)

    def merge_by_mmseg():
        out, (height, width) = mmseg_layer(x.flatten(1, 2), size)
        return out.reshape(2, height, width, 2 * dims)

    mmseg_layer.load_state_dict(plain)
    assert (merge_by_mmseg() - expected).abs().max() > 0.1
    mmseg_layer.load_state_dict({k: unfold_order(v) for k, v in plain.items()})
    torch.testing.assert_close(merge_by_mmseg(), expected, rtol=1e-5, atol=1e-5)


def test_names_of_mmseg_stay():
    state = Checkpoint(mmseg_swin().state_dict(), "a")
    conversion = convert(state, find_family(state))
    assert conversion.family is get_family("mmseg_swin")
    assert all(old == new for old, new in conversion.renamed.items())
    assert len(conversion.state) == len(state)
    assert not conversion.changed
