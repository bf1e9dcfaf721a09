import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_deepvit.engine.optimizers.layer_decay import layer_scales

BACKBONES = {
    "ours": dict(
        type="DeepViT",
        arch=dict(embed_dims=24, num_layers=3, num_heads=4, layer_scale_init=1e-5),
        num_register_tokens=1,
        img_size=32,
    ),
    "mmseg": dict(
        type="VisionTransformer",
        img_size=32,
        embed_dims=24,
        num_layers=3,
        num_heads=4,
        final_norm=True,
    ),
    "swin": dict(
        type="SwinTransformer", embed_dims=12, depths=(1, 1, 2, 1), num_heads=(1, 1, 1, 1)
    ),
}
HEAD = dict(
    type="FCNHead", in_channels=24, channels=24, num_convs=0, concat_input=False, num_classes=2
)
# Distance of some parameters from the heads.
DEPTHS = {
    "ours": {
        "decode_head.conv_seg.weight": 0,
        "backbone.norm.weight": 0,
        "backbone.blocks.2.attn.post_mix.weight": 1,
        "backbone.blocks.0.ls1.gamma": 3,
        "backbone.patch_embed.proj.weight": 4,
        "backbone.reg_token": 4,
        "backbone.pos_embed": 4,
    },
    "mmseg": {
        "backbone.ln1.weight": 0,
        "backbone.layers.2.attn.attn.in_proj_weight": 1,
        "backbone.layers.0.ln1.weight": 3,
        "backbone.cls_token": 4,
    },
    "swin": {
        "backbone.norm0.weight": 0,
        "backbone.stages.3.blocks.0.norm1.weight": 1,
        "backbone.stages.2.downsample.reduction.weight": 2,
        "backbone.stages.2.blocks.0.norm1.weight": 3,
        "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight": 5,
        "backbone.patch_embed.norm.weight": 6,
    },
}


def segmentor(kind, **backbone):
    init_default_scope("mmseg")
    backbone = {**BACKBONES[kind], **backbone}
    cfg = dict(type="EncoderDecoder", backbone=backbone, decode_head=HEAD)
    return MODELS.build({**cfg, "train_cfg": {}, "test_cfg": {"mode": "whole"}})


def build(model, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            type="OptimWrapper",
            constructor="BlockDecayOptimWrapperConstructor",
            optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.1),
            paramwise_cfg=paramwise,
        ),
    )


@pytest.mark.parametrize("kind", BACKBONES)
def test_rates_fall_from_head_to_stem(kind):
    model = segmentor(kind)
    optimizer = build(model, layer_decay_rate=0.5).optimizer
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    parameters = dict(model.named_parameters())
    for name, depth in DEPTHS[kind].items():
        assert rates[id(parameters[name])] == 0.5**depth, name
    assert set(rates) == {id(p) for p in parameters.values() if p.requires_grad}


def test_every_block_has_its_rate():
    scale = layer_scales(segmentor("ours"), 0.5)
    rates = [scale(f"backbone.blocks.{i}.norm1.bias") for i in range(3)]
    assert rates == [0.125, 0.25, 0.5]


def test_other_options_act_too():
    model = segmentor("ours")
    keys = {"norm": dict(decay_mult=0.0), "decode_head": dict(lr_mult=10.0)}
    optimizer = build(model, layer_decay_rate=0.5, custom_keys=keys).optimizer
    groups = {id(p): g for g in optimizer.param_groups for p in g["params"]}
    norm = groups[id(model.backbone.blocks[1].norm1.weight)]
    assert (norm["lr"], norm["weight_decay"]) == (0.25, 0.0)
    linear = groups[id(model.backbone.blocks[1].mlp.fc1.weight)]
    assert (linear["lr"], linear["weight_decay"]) == (0.25, 0.1)
    assert groups[id(model.decode_head.conv_seg.weight)]["lr"] == 10
    # The stem, three blocks with norms and without, the final norm, the head.
    assert len(optimizer.param_groups) == 1 + 3 * 2 + 1 + 1


@pytest.mark.parametrize("frozen_stages", [-1, 0, 2, "all"])
def test_frozen_parameters_are_in_no_group_and_one_line(frozen_stages, monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger, "callHandlers", lambda self, record: lines.append(record.msg))
    model = segmentor("ours", frozen_stages=frozen_stages)
    groups = build(model, layer_decay_rate=0.5).optimizer.param_groups
    free = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for group in groups for p in group["params"]} == free
    (line,) = [line for line in lines if "parameters" in line or "requires_grad" in line]
    assert not [line for line in lines if "paramwise" in line]
    frozen = [p for p in model.backbone.parameters() if not p.requires_grad]
    assert (f"frozen: {len(frozen)} tensors, {sum(p.numel() for p in frozen):,}" in line) == (
        frozen_stages != -1
    )
    rates = {group["lr"] for group in groups}
    assert max(rates) == 1
    assert (rates == {1.0}) == (frozen_stages == "all")


def test_a_rate_of_one_is_the_plain_optimizer():
    torch.manual_seed(0)
    model = segmentor("ours")
    (group,) = build(model, layer_decay_rate=1.0).optimizer.param_groups
    assert group["lr"] == 1.0
    assert len(group["params"]) == len([p for p in model.parameters() if p.requires_grad])


@pytest.mark.parametrize("rate", [0, 1.5, -1, None, "0.8"])
def test_bad_rates(rate):
    with pytest.raises(ValueError, match="layer_decay_rate must be above 0 and at most 1"):
        build(segmentor("ours"), layer_decay_rate=rate)


def test_a_backbone_without_blocks():
    model = segmentor("ours")
    model.backbone = torch.nn.Conv2d(3, 3, 1)
    with pytest.raises(ValueError, match="finds no blocks in Conv2d"):
        build(model, layer_decay_rate=0.5)
