import pytest
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from mmseg_deepvit.command_line.flops import Cost, cost_line, count_cost

DIMS, HEADS, LAYERS, PATCH, CLASSES = 24, 4, 3, 8, 5


def segmentor(**backbone):
    init_default_scope("mmseg")
    arch = dict(embed_dims=DIMS, num_heads=HEADS, num_layers=LAYERS, mlp_ratio=3)
    return ConfigDict(
        type="EncoderDecoder",
        backbone=dict(type="DeepViT", arch=arch, img_size=32, patch_size=PATCH, **backbone),
        decode_head=dict(
            type="FCNHead",
            in_index=0,
            in_channels=DIMS,
            channels=DIMS,
            num_convs=0,
            concat_input=False,
            num_classes=CLASSES,
        ),
        train_cfg={},
        test_cfg=dict(mode="whole"),
    )


def flops_by_hand(height, width, mixes, channels=3):
    """FLOPs are twice the multiplications of embedding, blocks, mixes and classifier."""
    patches = (height // PATCH) * (width // PATCH)
    tokens = patches + 1
    embedding = patches * channels * PATCH**2 * DIMS
    linear = tokens * DIMS * DIMS * (3 + 1 + 3 + 3)
    maps = tokens * tokens * (2 * DIMS + mixes * HEADS * HEADS)
    return 2 * (embedding + LAYERS * (linear + maps) + patches * DIMS * CLASSES)


@pytest.mark.parametrize("backend", ["auto", "blockwise", "explicit"])
@pytest.mark.parametrize(
    ("arguments", "mixes"),
    [
        ({}, 1),
        ({"pre_mix": True}, 2),
        ({"num_mixing_layers": 0}, 0),
        ({"mix_norm_cfg": None}, 1),
    ],
)
def test_counts_what_is_multiplied(arguments, mixes, backend):
    cfg = segmentor(**arguments, attn_backend=backend)
    for shape in ((32, 32), (48, 64)):
        cost = count_cost(cfg, shape)
        assert cost.flops == flops_by_hand(*shape, mixes)
        assert sum(cost.parts.values()) == cost.flops
    assert cfg.backbone.attn_backend == backend


@pytest.mark.parametrize("channels", [1, 5])
def test_counts_images_of_other_bands(channels):
    cost = count_cost(segmentor(in_channels=channels), (32, 48))
    assert cost.flops == flops_by_hand(32, 48, 1, channels)


def test_counts_parameters():
    cost = count_cost(segmentor(num_mixing_layers=0), (32, 32))
    linear = DIMS * DIMS * 10 + DIMS * (3 + 1 + 3 + 1)
    tokens = 3 * PATCH**2 * DIMS + DIMS + DIMS + 17 * DIMS
    assert cost.parameters == (
        tokens + LAYERS * (linear + 4 * DIMS) + 2 * DIMS + DIMS * CLASSES + CLASSES
    )


def test_needs_no_weights():
    init_cfg = dict(type="Pretrained", checkpoint="nowhere.pth")
    cfg = segmentor(init_cfg=init_cfg)
    assert count_cost(cfg, (32, 32)).flops > 0
    assert cfg.backbone.init_cfg == init_cfg


def test_line():
    cost = Cost(59_364_264, 524_399_443_104, {})
    assert cost_line(cost, (512, 640)) == "59.4 M parameters, 524 GFLOPs at 512×640"
