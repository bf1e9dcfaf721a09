import logging

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmseg.registry import MODELS
from timm.models.cait import Cait

from mmseg_deepvit.checkpoints.normalization import HALF
from mmseg_deepvit.errors import CheckpointError
from mmseg_deepvit.weights.pretrained import load_pretrained

from ..backbones.reference import Reference, published_state_dict

PATCH, DIMS, DEPTH, MIXING, GRID = 4, 48, 3, 2, (3, 3)
CONFIG = {
    "type": "DeepViT",
    "arch": "deepvit-16b",
    "img_size": (12, 12),
    "patch_size": PATCH,
    "embed_dims": DIMS,
    "num_layers": DEPTH,
    "num_mixing_layers": MIXING,
}
PLAIN = {"type": "PlainViT", "arch": {"num_heads": 12, "mlp_ratio": 3}, "num_mixing_layers": 0}


@pytest.fixture
def published():
    state = published_state_dict(DIMS, DEPTH, MIXING, 12, 3, PATCH, GRID, "linear")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


@pytest.fixture
def save(tmp_path):
    def save(content):
        path = tmp_path / "deepvit.pth"
        torch.save(content, path)
        return str(path)

    return save


@pytest.fixture
def log():
    """The lines that a load logs."""
    lines = []

    class Collect(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    logger = MMLogger.get_current_instance()
    handler = Collect()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def load(path, pos_grid=None, weights=None, **overrides):
    init_cfg = {"type": "Pretrained", "checkpoint": path}
    init_cfg |= {"pos_grid": pos_grid} if pos_grid else {}
    init_cfg |= {"weights": weights} if weights else {}
    model = MODELS.build({**CONFIG, **overrides, "init_cfg": init_cfg})
    model.init_weights()
    return model.eval()


def reference_features(state, image):
    state = {k: v.double() for k, v in state.items()}
    return Reference(state, 12, PATCH, 1.0, 1.0, training=False)(image.double())


@pytest.mark.parametrize("container", [None, "state_dict", "state_dict_ema", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_published_files_compute_the_published_function(published, save, container, prefix):
    content = {prefix + k: v for k, v in published.items()}
    if prefix.endswith("backbone."):
        content["decode_head.conv_seg.weight"] = torch.zeros(3, 4, 1, 1)
    if container:
        content = {container: content, "epoch": 3, "arch": "deepvit", "best": 81.2}
    model = load(save(content))
    image = torch.randn(2, 3, 12, 12)
    (out,) = model(image)
    expected = reference_features(published, image)
    torch.testing.assert_close(
        out.flatten(2).transpose(1, 2).double(), expected, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("weights", [None, "ema", "model"])
def test_a_model_and_its_moving_average(published, save, weights):
    """Published DeepViT's accuracy is the average's; other scripts measured the model."""
    other = {k: torch.zeros_like(v) for k, v in published.items()}
    average = published if weights != "model" else other
    plain = other if weights != "model" else published
    path = save({"state_dict": plain, "state_dict_ema": average})
    model = load(path, weights=weights)
    assert torch.equal(model.cls_token, published["cls_token"])
    assert model.trained_input == (path, HALF)


def test_own_checkpoints_load(published, save):
    model = load(save(published))
    again = load(save({"state_dict": {f"backbone.{k}": v for k, v in model.state_dict().items()}}))
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_pretrained_among_other_initialisers(published, save):
    others = {"type": "Constant", "layer": "LayerNorm", "val": 3.0}
    del published["norm.weight"]
    checkpoint = {"type": "Pretrained", "checkpoint": save(published)}
    model = MODELS.build({**CONFIG, "init_cfg": [checkpoint, others]})
    model.init_weights()
    assert (model.norm.weight == 3).all()
    assert torch.equal(model.blocks[0].norm1.weight, published["blocks.0.norm1.weight"])


def test_reports_one_line_each(published, save, log):
    del published["norm.weight"], published["norm.bias"]
    published |= {"extra.a": torch.zeros(1), "extra.b": torch.zeros(1)}
    path = save(published)
    load(path)
    assert [line for line in log if path in line] == [
        f"Loaded {len(published) - 4} tensors from {path}, without head.weight, head.bias",
        f"Missing keys in {path}: norm.weight, norm.bias",
        f"Unexpected keys in {path}: extra.a, extra.b",
    ]


@pytest.mark.parametrize(
    ("file_grid", "img_size", "pos_grid"),
    [
        ((3, 3), (20, 28), None),  # a square to a rectangle
        ((3, 3), (36, 4), None),  # as many positions as the square, but 9×1: taken as they are
        ((2, 4), (20, 40), None),  # the model's aspect
        ((2, 6), (12, 12), (2, 6)),  # told
    ],
)
def test_position_embeddings_of_another_grid(published, save, file_grid, img_size, pos_grid):
    """A ramp over rows stays a ramp over rows, whatever the two grids."""
    rows = torch.linspace(-1, 1, file_grid[0])[:, None].expand(file_grid).reshape(1, -1, 1)
    cls_position = published["pos_embed"][:, :1]
    published["pos_embed"] = torch.cat([cls_position, rows.expand(-1, -1, DIMS)], 1)
    model = load(save(published), pos_grid, img_size=img_size)
    assert torch.equal(model.pos_embed[:, :1], cls_position)
    grid = (img_size[0] // PATCH, img_size[1] // PATCH)
    positions = model.pos_embed[0, 1:, 0].reshape(grid)
    if grid != (9, 1):
        torch.testing.assert_close(positions[:, 0], positions[:, -1])
        assert (positions[:, 0].diff() > 0).all()


@pytest.mark.parametrize("settings", [{}, {"interpolate_antialias": True}])
def test_positions_are_antialiased_where_asked(published, save, settings):
    """Published code does without, which differs in larger grids too."""
    grid = published["pos_embed"][:, 1:].unflatten(1, GRID).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, (5, 5), mode="bicubic", antialias=bool(settings))
    positions = load(save(published), img_size=20, **settings).pos_embed[:, 1:]
    torch.testing.assert_close(positions, expected.flatten(2).mT, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "advised"),
    [
        (dict(img_size=(12, 12)), False),
        (dict(img_size=(24, 24)), True),
        (dict(img_size=(24, 24), map_tokens="img_size"), True),
        (dict(img_size=(24, 24), map_tokens=10), False),
    ],
)
def test_advises_the_tokens_that_maps_were_mixed_of(published, save, log, settings, advised):
    path = save(published)
    load(path, **settings)
    line = (
        f"{path} was trained to mix maps of 10 tokens, and img_size gives 37; map_tokens=10 keeps "
        "the effect of the mixes"
    )
    assert (line in log) == advised


def drop(state, part):
    return {k: v for k, v in state.items() if part not in k}


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        (lambda s: {"fc.weight": torch.zeros(2, 3)}, {}, "is of no family that is known"),
        (lambda s: {f"layer{k}": v for k, v in s.items()}, {}, "is of no family that is known"),
        (lambda s: drop(s, "blocks.2."), {}, "has 2 blocks and the model 3"),
        (lambda s: s, {"num_layers": 2}, "has 3 blocks and the model 2"),
        (lambda s: drop(drop(s, "reatten"), "var_norm"), {}, "only the model has mixing"),
        (lambda s: s, {"num_mixing_layers": 1}, "only the file has mixing"),
        (lambda s: s, PLAIN, "only the file has mixing of attention maps.*set type, num_mixing"),
        (lambda s: drop(s, "var_norm"), {}, "only the model has a norm.*set mix_norm_cfg"),
        (lambda s: s, {"stem": "conv"}, "only the model has a convolutional stem.*set stem"),
        (
            lambda s: drop(s, "pos_embed"),
            {},
            "only the model has position embeddings.*set with_pos",
        ),
        (
            lambda s: s,
            {"with_pos_embed": False, "rope": "dinov3"},
            "only the file has position embeddings.*set with_pos_embed",
        ),
        (lambda s: s, {"pre_norm": True}, "only the model has a norm before.*set pre_norm"),
        (lambda s: s, {"mlp_norm": True}, "only the model has a norm inside.*set mlp_norm"),
        (lambda s: s, {"gated_mlp": True}, "set gated_mlp to match"),
        (lambda s: s, {"embed_dims": 96}, r"embed_dims.*to match"),
        (lambda s: s, {"patch_size": 8}, r"patch_embed.proj.weight.*patch_size"),
        (lambda s: s, {"mlp_ratio": 4}, "mlp_ratio"),
        (
            lambda s: {**s, "pos_embed": torch.zeros(1, 13, DIMS)},
            {},
            "13 positions.*pos_grid",
        ),
        (lambda s: {"state_dict": {}}, {}, "holds no weights"),
        (lambda s: s, {"weights": "ema"}, "holds no weights of a moving average"),
        (
            lambda s: {**s, "norm.bias": s["norm.bias"].int()},
            {},
            "int32 numbers in norm.bias",
        ),
        (
            lambda s: {**s, "pos_embed": s["pos_embed"].to(torch.cfloat)},
            {"img_size": 20},
            "complex64 numbers in pos_embed",
        ),
        (lambda s: {**s, "norm.bias": s["norm.bias"].to_sparse()}, {}, "a sparse tensor"),
    ],
)
def test_other_models_are_refused_in_one_line(published, save, change, overrides, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load(save(change(published)), **overrides)
    assert "\n" not in str(caught.value)


def test_a_refused_file_changes_nothing(published, save):
    """Most tensors of the file would fit; none is loaded."""
    model = MODELS.build({**CONFIG, "mlp_ratio": 4})
    model.init_weights()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="mlp_ratio"):
        load_pretrained(model, save(published))
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert not torch.equal(model.cls_token, published["cls_token"])


@pytest.mark.parametrize("with_cls_blocks", [False, True])
def test_cait_as_published(save, with_cls_blocks):
    theirs = Cait(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=3)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = save({"model": {f"module.{k}": v for k, v in theirs.state_dict().items()}})
    cfg = {"type": "CaiT", "img_size": 32, "patch_size": 8}
    cfg["arch"] = {"embed_dims": 48, "num_layers": 2, "num_heads": 4}
    init_cfg = {"type": "Pretrained", "checkpoint": path}
    model = MODELS.build({**cfg, "with_cls_blocks": with_cls_blocks, "init_cfg": init_cfg})
    model.init_weights()
    images = torch.randn(2, 3, 32, 32)
    expected = theirs.eval().forward_features(images)
    actual = model.eval().forward_features(images)
    torch.testing.assert_close(actual, expected[:, not with_cls_blocks :], rtol=1e-4, atol=1e-4)


def test_diversepatch_as_published(save):
    state = published_state_dict(48, 2, 2, 4, 4, PATCH, GRID, "linear", family="diversepatch")
    cfg = {"type": "DiversePatchViT", "img_size": 12, "patch_size": PATCH}
    cfg["arch"] = {"embed_dims": 48, "num_layers": 2, "num_heads": 4}
    init_cfg = {"type": "Pretrained", "checkpoint": save({"model": state, "epoch": 299})}
    model = MODELS.build({**cfg, "init_cfg": init_cfg})
    model.init_weights()
    images = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    expected = Reference(state, 4, PATCH, 1.0, 1.0, training=False)(images)
    actual = model.double().eval()(images)[0].flatten(2).transpose(1, 2)
    # The file is float64, the model read it as fp32.
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


def test_plain_transformer_of_mmseg(save):
    """A segmentor with mmseg's own ViT loads into a trunk of plain blocks."""
    theirs = MODELS.build(
        {
            "type": "VisionTransformer",
            "img_size": 32,
            "patch_size": 8,
            "embed_dims": 48,
            "num_layers": 2,
            "num_heads": 4,
            "out_indices": (0, 1),
            "norm_cfg": {"type": "LN", "eps": 1e-6},
        }
    )
    theirs.init_weights()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = save({"state_dict": {f"backbone.{k}": v for k, v in theirs.state_dict().items()}})
    arch = {"embed_dims": 48, "num_layers": 2, "num_heads": 4, "mlp_ratio": 4}
    arch |= {"out_indices": (0, 1), "img_size": 32, "patch_size": 8}
    arch["final_norm"] = False
    init_cfg = {"type": "Pretrained", "checkpoint": path}
    model = MODELS.build({"type": "PlainViT", "arch": arch, "init_cfg": init_cfg})
    model.init_weights()
    images = torch.randn(2, 3, 32, 32)
    theirs.eval()
    for ours, expected in zip(model.eval()(images), theirs(images), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_swin_is_no_vision_transformer(save):
    swin = MODELS.build({"type": "SwinTransformer", "embed_dims": 12, "num_heads": (1, 1, 1, 1)})
    with pytest.raises(CheckpointError, match=r"a Swin Transformer \(family mmseg_swin\) and"):
        load(save(swin.state_dict()))
