"""Settings that the segmentor takes, and those that it refuses."""

import pytest
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_deepvit.tokens.backbone_facts import find_width

from .cases import NAMED, ZERO, make_batch, make_config, make_segmentor


@pytest.mark.parametrize(
    ("kind", "last", "backbone", "width"),
    [
        ("ours", "blocks.3.attn", dict(mix_norm_cfg=dict(type="LN")), 48),
        ("ours", -1, dict(with_cls_token=False), 48),
        ("vit", -1, {}, 48),
        ("swin", -1, dict(out_indices=(0, 2)), 32),
        ("swin", 0, dict(out_indices=(1, 3)), 16),
        ("swin", "stages.1.blocks.0", {}, 16),
        ("swin", "stages.1.blocks.0.norm2", {}, 16),
        ("swin", "stages.1", {}, None),
    ],
)
def test_width_of_the_last_tokens(kind, last, backbone, width):
    built = MODELS.build(make_config(kind, **backbone)["backbone"])
    assert find_width(built, last) == width


def test_width_may_be_given():
    diversity = dict(early="stages.3.blocks.0", last="stages.3", mixing_channels=64)
    segmentor = make_segmentor("swin", head="uper", diversity=diversity)
    assert "diversity.loss_mixing" in segmentor.loss(*make_batch())


def test_settings_may_come_from_a_config_file(tmp_path):
    path = tmp_path / "config.py"
    cfg = make_config("swin", diversity=dict(early=NAMED["swin"][0], last=NAMED["swin"][1]))
    path.write_text(f"model = {cfg!r}")
    segmentor = MODELS.build(Config.fromfile(path).model)
    assert segmentor.patch_head.in_features == 32


@pytest.mark.parametrize(
    ("kind", "diversity", "error", "message"),
    [
        ("ours", None, TypeError, "diversity must be a dict, got None"),
        (
            "ours",
            dict(cos=1),
            TypeError,
            "diversity has no 'cos'; choose from cosine, .*, early, last",
        ),
        ("ours", dict(cosine=-1), ValueError, "cosine is a weight .* got -1"),
        ("ours", dict(variant="x"), ValueError, "variant must be one of"),
        ("ours", dict(early=1.5), TypeError, "diversity.early must be an index .* got 1.5"),
        ("ours", dict(last=""), TypeError, "diversity.last must be an index .* got ''"),
        ("ours", dict(last=True), TypeError, "diversity.last must be an index .* got True"),
        ("ours", dict(warmup_iters=-1), ValueError, "warmup_iters must be .* got -1"),
        ("ours", dict(warmup_iters=2.5), ValueError, "warmup_iters must be .* got 2.5"),
        (
            "ours",
            dict(early="block.0"),
            ValueError,
            "DeepViT has no submodule 'block.0'; name one .* nearest first 'blocks.0', 'blocks.",
        ),
        (
            "mit",
            dict(early="blocks.0"),
            ValueError,
            "MixVision.* has no .* first 'layers.0.1.0', 'layers.1.1.0', 'layers.2.1.0', 'layers.3",
        ),
        ("vit", dict(last="blocks.0"), ValueError, "nearest first 'layers.0', 'layers.1'"),
        ("ours", dict(head_pairs=0), ValueError, "head_pairs must be .* at least 1, got 0"),
        ("ours", dict(temperature=-1), ValueError, "temperature must be .* got -1"),
        ("vit", dict(heads=1), ValueError, "VisionTransformer has 0 attention layers of mmseg_d"),
        (
            "ours",
            dict(heads=1, head_pairs=4),
            ValueError,
            "DeepViT has 4 .* compares 5; .*head_pai",
        ),
        ("ours", dict(patch_mix=dict(alpha=-1)), ValueError, "alpha must be at least 0.01"),
        ("ours", dict(patch_mix=dict(size=8)), TypeError, "size"),
        ("swin", dict(last="stages.3"), ValueError, "SwinTransformer does not tell the width"),
    ],
)
def test_bad_settings(kind, diversity, error, message):
    cfg = make_config(kind)
    cfg.update(type="DiverseEncoderDecoder", diversity=diversity)
    with pytest.raises(error, match=message) as caught:
        MODELS.build(cfg)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "diversity", "backbone", "message"),
    [
        (
            "swin",
            {},
            {},
            r"0 has 8 .* on \(16, 16\).*64 on \(2, 2\); .* \(early='stages.3.blocks.0',",
        ),
        ("mit", {}, {}, r"\(early='layers.3.1.0', last='layers.3.1.1'\), or set contrastive=0"),
        (
            "mit",
            dict(early="layers.3.1.0.attn.attn", last="layers.3.1.1"),
            {},
            "name a block, such as 'layers.0.1.0' or 'layers.3.1.1'",
        ),
        (
            "ours",
            dict(ZERO, heads=1),
            dict(frozen_stages=3),
            "first 3 attention layers .* no gradient",
        ),
        ("ours", dict(early=3), {}, "early=3 and diversity.last=-1 are one output"),
        ("ours", dict(early=7), {}, "has 4 outputs and no output 7; set out_indices"),
        (
            "ours",
            dict(early="blocks.3"),
            dict(out_indices=(0, 1, 2, 2)),
            "'blocks.3' did not run",
        ),
        ("ours", {}, dict(frozen_stages=4), "diversity.last=-1 gets no gradient"),
        ("ours", dict(mixing_channels=7), {}, "last=-1 has 48 channels and patch_head takes 7"),
        ("swin", dict(early="stages.2.blocks.0.attn.w_msa", last=-1), {}, "no patch tokens or map"),
    ],
)
def test_tokens_that_do_not_go_together(kind, diversity, backbone, message):
    segmentor = make_segmentor(kind, diversity=diversity, **backbone)
    with pytest.raises(ValueError, match=message) as caught:
        segmentor.loss(*make_batch())
    assert "\n" not in str(caught.value)
    assert not any(m._forward_hooks for m in segmentor.modules())
