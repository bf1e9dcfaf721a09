import pytest
import torch
from mmseg.registry import MODELS

from mmseg_deepvit.checkpoints import (
    Checkpoint,
    convert_checkpoint,
    get_family,
    load_whole_model,
    segmentor_state_dict,
)
from mmseg_deepvit.errors import CheckpointError

from .published import DIMS as VIT_DIMS
from .published import dvit_repo, mmseg_vit, prefixed
from .swin_reference import DEPTHS, DIMS, HEADS, PATCH, WINDOW, SwinReference, swin_state_dict


@pytest.fixture(scope="module")
def upernet():
    """mmseg's Swin under UPerNet with an auxiliary head, as published but small."""
    heads = {"num_classes": 3, "channels": 4, "norm_cfg": {"type": "BN"}, "align_corners": False}
    return MODELS.build(
        {
            "type": "mmseg.EncoderDecoder",
            "backbone": {
                "type": "SwinTransformer",
                "embed_dims": DIMS,
                "depths": DEPTHS,
                "num_heads": HEADS,
                "window_size": WINDOW,
                "patch_size": PATCH,
                "strides": (PATCH, 2, 2),
                "out_indices": (0, 1, 2),
            },
            "decode_head": {
                "type": "UPerHead",
                "in_channels": [DIMS, 2 * DIMS, 4 * DIMS],
                "in_index": [0, 1, 2],
                **heads,
            },
            "auxiliary_head": {
                "type": "FCNHead",
                "in_channels": 2 * DIMS,
                "in_index": 1,
                "num_convs": 1,
                **heads,
            },
        }
    )


def heads_of(segmentor):
    return {
        k: torch.randn(v.shape) if v.is_floating_point() else v
        for k, v in segmentor.state_dict().items()
        if not k.startswith("backbone.")
    }


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_swin_segmentor(upernet, prefix):
    backbone, heads = swin_state_dict(classifier=False), heads_of(upernet)
    whole = prefixed(f"{prefix}backbone.", backbone) | prefixed(prefix, heads)
    state = segmentor_state_dict(
        Checkpoint({"state_dict": whole, "meta": {"CLASSES": ("a",)}}, "a.pth")
    )
    load_whole_model(upernet, state)
    upernet.eval()
    for name, value in heads.items():
        assert torch.equal(state[name], value)
    images = torch.randn(1, 3, 24, 36)
    reference = SwinReference(backbone)
    for i, expected in enumerate(reference(images)):
        expected = reference.norm(f"norm{i}", expected).permute(0, 3, 1, 2)
        torch.testing.assert_close(upernet.backbone(images)[i], expected, rtol=1e-5, atol=1e-5)


def test_what_became_of_a_segmentors_keys(upernet):
    heads = heads_of(upernet)
    whole = prefixed("backbone.", swin_state_dict(classifier=False)) | heads
    conversion = convert_checkpoint(Checkpoint({"state_dict": whole}, "a.pth"))
    assert conversion.family is get_family("swin")
    assert set(conversion.renamed) == set(whole)
    assert conversion.renamed["decode_head.conv_seg.weight"] == "decode_head.conv_seg.weight"
    old = "backbone.layers.1.blocks.0.mlp.fc1.bias"
    assert conversion.renamed[old] == "backbone.stages.1.blocks.0.ffn.layers.0.0.bias"
    assert set(conversion.changed) == {
        f"backbone.stages.{i}.downsample.{part}"
        for i in range(2)
        for part in ("norm.weight", "norm.bias", "reduction.weight")
    }
    assert set(conversion.state) == set(upernet.state_dict())


def test_segmentors_of_mmseg_stay_as_they_are(upernet):
    """Also those with a backbone that convert_checkpoint would give our names."""
    own = upernet.state_dict()
    torch.testing.assert_close(
        dict(segmentor_state_dict(Checkpoint({"state_dict": own}, "a"))), dict(own)
    )
    vit = prefixed("backbone.", mmseg_vit()[0], **{"decode_head.conv_seg.bias": torch.zeros(3)})
    assert list(segmentor_state_dict(Checkpoint({"state_dict": vit}, "a"))) == list(vit)
    converted = convert_checkpoint(Checkpoint({"state_dict": vit}, "a")).state
    assert "backbone.blocks.0.attn.qkv.weight" in converted
    assert "decode_head.conv_seg.bias" in converted


def test_segmentors_of_other_backbones_stay_as_they_are():
    state = {"backbone.layer1.0.conv1.weight": torch.zeros(1), "decode_head.a": torch.zeros(1)}
    assert segmentor_state_dict(Checkpoint({"state_dict": state}, "a")) == state
    with pytest.raises(CheckpointError, match=r"a\.pth is of no family that is known"):
        convert_checkpoint(Checkpoint({"state_dict": state}, "a.pth"))


def test_a_segmentor_with_published_names_of_ours():
    whole = prefixed("backbone.", dvit_repo()[0], **{"decode_head.conv_seg.bias": torch.zeros(3)})
    state = segmentor_state_dict(Checkpoint({"state_dict": whole}, "a"))
    assert state["backbone.blocks.1.attn.post_mix.weight"].ndim == 2
    assert "decode_head.conv_seg.bias" in state
    assert not any("reatten" in key for key in state)


def test_a_neck_and_other_parts_are_kept():
    others = {"decode_head.a": torch.zeros(1), "neck.b": torch.ones(1)}
    whole = prefixed("backbone.", dvit_repo()[0], **others)
    state = convert_checkpoint(Checkpoint({"state_dict": whole}, "a")).state
    assert torch.equal(state["neck.b"], others["neck.b"])


def test_what_is_not_the_backbones_is_told():
    """A classifier or pretraining heads next to a backbone do not make a segmentor."""
    content = {
        "teacher": prefixed(
            "backbone.", dvit_repo()[0], **{"dino_head.last.weight": torch.zeros(3, VIT_DIMS)}
        )
    }
    conversion = convert_checkpoint(Checkpoint(content, "a"))
    assert conversion.dropped["dino_head.last.weight"] == "not the backbone's"
    assert conversion.dropped["backbone.head.weight"] == "classifier"
    assert conversion.renamed["backbone.cls_token"] == "cls_token"
    assert "cls_token" in conversion.state


def test_a_family_that_is_not_the_files():
    content = {"state_dict": dvit_repo()[0]}
    assert convert_checkpoint(Checkpoint(content, "a"), get_family("vit")).family.name == "vit"
    with pytest.raises(CheckpointError, match=r"a\.pth lacks the keys of family swin"):
        convert_checkpoint(Checkpoint(content, "a.pth"), get_family("swin"))
    with pytest.raises(CheckpointError, match=r"a\.pth holds no weights"):
        convert_checkpoint(Checkpoint({"epoch": 3}, "a.pth"))
