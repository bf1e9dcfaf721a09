import argparse

import pytest
import timm
import torch
from mmseg.registry import MODELS
from timm.data import resolve_data_config
from timm.optim import create_optimizer_v2
from timm.utils import CheckpointSaver, ModelEmaV3

import mmseg_deepvit.timm_models  # noqa: F401  (registers the models)
from mmseg_deepvit.backbones.deepvit import ARCHS as DEEPVITS
from mmseg_deepvit.backbones.diverse_patch_vit import ARCHS as DIVERSE_PATCH_VITS
from mmseg_deepvit.backbones.plain_vit import ARCHS as PLAIN_VITS

NAMES = [name.replace("-", "_") for name in (*DEEPVITS, *DIVERSE_PATCH_VITS, *PLAIN_VITS)]
SMALL = dict(img_size=32, patch_size=8, num_layers=3, num_classes=5)


@pytest.mark.parametrize("name", NAMES)
def test_registered_with_published_classifier(name):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=10)
    assert name in timm.list_models()
    size = 384 if name.endswith("384") else 224
    assert resolve_data_config({}, model=model)["input_size"] == (3, size, size)
    assert model.get_classifier().out_features == 10
    assert model.num_features == model.embed_dim == model.get_classifier().in_features
    assert model.default_cfg["classifier"] == "head"
    # Published DeepViTs, and timm's plain ViTs, were trained on images from -1 to 1.
    halves = name.startswith(("deepvit", "vit"))
    assert (model.default_cfg["mean"] == (0.5, 0.5, 0.5)) == halves
    assert model.get_submodule(model.default_cfg["first_conv"]).in_channels == 3


@pytest.mark.parametrize("pool", ["token", "avg", ""])
def test_forward_is_head_of_features(pool):
    model = timm.create_model("diversepatch_t", **SMALL, global_pool=pool).eval()
    images = torch.randn(2, 3, 32, 32)
    features = model.forward_features(images)
    assert features.shape == (2, 17, 192)
    pooled = {"token": features[:, 0], "avg": features[:, 1:].mean(1), "": features}[pool]
    torch.testing.assert_close(model(images), model.head(pooled))
    torch.testing.assert_close(model.forward_head(features, pre_logits=True), pooled)


def test_every_parameter_learns_and_recomputation_changes_nothing():
    torch.manual_seed(0)
    model = timm.create_model("deepvit_s", **SMALL, num_mixing_layers=2, drop_path_rate=0.1)
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([1, 3])
    grads = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        torch.manual_seed(1)
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters()})
    torch.testing.assert_close(*grads)


def test_weight_decay_and_layer_decay():
    model = timm.create_model("deepvit_16b", **SMALL)
    names = {id(p): n for n, p in model.named_parameters()}
    optimizer = create_optimizer_v2(model, "adamw", lr=1.0, weight_decay=0.05, layer_decay=0.5)
    decayed = {
        names[id(p)] for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]
    }
    assert "blocks.0.attn.qkv.weight" in decayed
    assert not [n for n in decayed if "_mix" in n or "norm" in n or "token" in n or "pos" in n]
    scale = {names[id(p)]: g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    assert scale["head.weight"] == 1
    depths = ["cls_token", *(f"blocks.{i}.mlp.fc1.weight" for i in range(3))]
    scales = [scale[n] for n in depths]
    assert scales == sorted(scales)
    assert scales[1] == scales[0] * 2


@pytest.mark.parametrize(
    ("name", "backbone", "mixing"),
    [
        ("deepvit_s", "DeepViT", 2),
        ("diversepatch_t", "DiversePatchViT", 2),
        ("vit_tiny_patch16", "PlainViT", 0),
    ],
)
def test_what_timm_trains_loads_into_the_backbone(name, backbone, mixing, tmp_path):
    """A checkpoint as timm's training script writes it; its moving average is taken."""
    model = timm.create_model(name, **SMALL, num_mixing_layers=mixing, patch_head=True)
    ema = ModelEmaV3(model, decay=0.5)
    optimizer = create_optimizer_v2(model, "adamw", lr=0.01, weight_decay=0.05)
    images = torch.randn(4, 3, 32, 32)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
        ema.update(model)
    args = argparse.Namespace(model=name, opt="adamw", mean=None)
    saver = CheckpointSaver(model, optimizer, args, ema, checkpoint_dir=str(tmp_path))
    saver.save_checkpoint(0, metric=1.0)
    (path,) = tmp_path.glob("checkpoint-0*")

    init_cfg = dict(type="Pretrained", checkpoint=str(path))
    arch = name.replace("_", "-")
    sizes = dict(img_size=32, patch_size=8, num_layers=3, num_mixing_layers=mixing)
    loaded = MODELS.build(dict(type=backbone, arch=arch, **sizes, init_cfg=init_cfg))
    loaded.init_weights()
    ema.module.eval()
    expected = ema.module.forward_features(images)[:, 1:]
    actual = loaded.eval()(images)[0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(actual, expected)


def test_resetting_the_classifier():
    model = timm.create_model("diversepatch_t", **SMALL)
    model.reset_classifier(7, "avg")
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 7)
    assert model.patch_head is None
    model.reset_classifier(0)
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 192)


def test_the_patch_head_has_the_classes_and_changes_no_prediction():
    torch.manual_seed(0)
    model = timm.create_model("diversepatch_t", **SMALL, patch_head=True).eval()
    torch.manual_seed(0)
    plain = timm.create_model("diversepatch_t", **SMALL).eval()
    plain.load_state_dict({n: p for n, p in model.state_dict().items() if "patch_head" not in n})
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(model(images), plain(images))
    model.reset_classifier(7)
    assert model.patch_head.out_features == 7


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"global_pool": "max"}, ValueError, "global_pool must be one of 'token', 'avg'"),
        ({"with_cls_token": False}, ValueError, "global_pool='token' needs .*with_cls_token=True"),
        ({"features_only": True}, ValueError, "build the backbone from mmseg's registry"),
        ({"drop_rate": 1.0}, ValueError, "drop_rate must be"),
        ({"pretrained": True}, RuntimeError, "(?i)no pretrained weights"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        timm.create_model("diversepatch_t", **{**SMALL, **arguments})
