import pytest
import timm
import torch

from mmseg_deepvit.backbones.vit import ViTTrunk
from mmseg_deepvit.checkpoints import Checkpoint, convert, find_family, trunk_arguments
from mmseg_deepvit.errors import CheckpointError


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("vit_tiny_patch16_224.augreg_in21k", 3),
        ("deit_tiny_distilled_patch16_224", 3),
        ("vit_small_patch14_reg4_dinov2", 6),
        ("vit_small_patch16_dinov3_qkvb", 6),
        ("vit_huge_plus_patch16_dinov3", 20),
        ("vit_7b_patch16_dinov3", 32),
        ("eva02_tiny_patch14_224", 3),
        ("eva02_base_patch14_448", 12),
        ("vit_pe_core_base_patch16_224", 12),
        ("vit_pe_spatial_tiny_patch16_512", 3),
        ("vit_so400m_patch14_reg1_tipsv2", 16),
        ("cait_xxs24_224", 4),
    ],
)
def test_a_trunk_of_these_arguments_has_timms_tensors(name, heads):
    """At the published sizes, none of which needs memory here."""
    arguments = trunk_arguments(f"timm://{name}")
    assert arguments["num_heads"] == heads
    with torch.device("meta"):
        theirs = timm.create_model(name)
        ours = ViTTrunk(**arguments, pre_mix="cait" in name, post_mix="cait" in name)
    state = Checkpoint(theirs.state_dict(), name)
    state = convert(state, find_family(state)).state
    shapes = {k: v.shape for k, v in state.items() if "blocks_token_only" not in k}
    if "cait" in name:
        del shapes["cls_token"]
    shapes.setdefault("patch_embed.proj.bias", (arguments["embed_dims"],))
    own = {k: v.shape for k, v in ours.state_dict().items()}
    positions = own.pop("pos_embed", None), shapes.pop("pos_embed", None)
    assert (positions[0] is None) == (positions[1] is None)
    assert own == shapes


def test_what_leaves_no_trace_in_a_file():
    dinov3 = trunk_arguments("vit_small_patch16_dinov3.lvd1689m")
    assert dinov3["norm_eps"] == 1e-5
    assert dinov3["layer_scale_init"] == 1e-5
    assert dinov3["rope"] == dict(type="dinov3", base=100, interleaved=False)
    pe = trunk_arguments("vit_pe_core_large_patch14_336")
    assert pe["rope"] == dict(
        type="pe",
        base=10000,
        reference_grid=(24, 24),
        offset=1,
        columns_first=True,
        interleaved=True,
    )
    assert pe["interpolate_antialias"]
    assert pe["img_size"] == (336, 336)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swin_tiny_patch4_window7_224", r"no plain vision transformer; give a ViT, DeiT, DINOv2"),
        ("vit_small_patch16_18x2_224", r"\(it has ParallelThingsBlock\)"),
        ("vit_base_patch16_rpn_224", r"\(it has ResPostBlock\)"),
        ("vit_base_patch32_clip_quickgelu_224", r"\(it has the activation QuickGELU\(\)\)"),
        ("vit_small_patch16_rope_mixed_224", r"another kind \(RotaryEmbeddingMixed\)"),
        ("vit_huge_patch99", "timm has no model vit_huge_patch99"),
    ],
)
def test_other_transformers_are_refused(name, message):
    with pytest.raises(CheckpointError, match=message):
        trunk_arguments(name)
