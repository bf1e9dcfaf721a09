import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.own_data.start import BACKBONES, from_scratch, from_weights

TINY = dict(type="PlainViT", arch=dict(embed_dims=64, num_layers=4, num_heads=1), patch_size=16)


def saved(tmp_path, settings, name="w.pth"):
    init_default_scope("mmseg")
    model = MODELS.build(settings)
    torch.save(model.state_dict(), tmp_path / name)
    return model, str(tmp_path / name)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_settings_build_a_model_that_loads_the_file(tmp_path, backbone):
    """A plain transformer's weights give all kinds the same function."""
    plain, path = saved(tmp_path, TINY)
    start = from_weights(backbone, path, "half")
    assert (start.embed_dims, start.num_layers, start.patch_size) == (64, 4, 16)
    assert start.out_indices == (0, 1, 2, 3)
    assert start.normalization.mean == (127.5, 127.5, 127.5)
    assert (start.settings.get("mix_bias") is False) == (backbone in ("deepvit", "cait"))
    model = MODELS.build(start.settings)
    model.init_weights()
    image = torch.randn(1, 3, 64, 64)
    found, expected = (m.eval()(image)[-1] for m in (model, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_published_architectures_go_before_the_shapes(tmp_path):
    _, path = saved(tmp_path, dict(type="CaiT", arch="cait-xxs24", num_layers=24))
    start = from_weights("cait", path, "imagenet")
    assert start.settings["arch"] == "cait-xxs24"
    assert "warm_start" not in start.settings["init_cfg"]
    assert start.normalization.mean == (123.675, 116.28, 103.53)
    with pytest.raises(UserError, match="fits no architecture of PlainViT"):
        from_weights("vit", path)


def test_a_file_named_as_a_model_of_timm(tmp_path):
    settings = dict(type="PlainViT", arch="vit-tiny-patch16")
    _, path = saved(tmp_path, settings, "vit_tiny_patch16_224.pth")
    start = from_weights("deepvit", path)
    assert start.settings["arch"] == "timm://vit_tiny_patch16_224"
    assert start.settings["init_cfg"]["warm_start"]
    assert start.normalization.mean == (127.5, 127.5, 127.5)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(),
        dict(qkv_bias=False, gated_mlp=True, mlp_ratio=2),  # as DINOv3's largest
    ],
)
def test_a_dinov3_by_its_shapes(tmp_path, arguments):
    dinov3 = dict(rope="dinov3", with_pos_embed=False, norm_eps=1e-5, layer_scale_init=1e-5)
    settings = {**TINY, **dinov3, "num_register_tokens": 4, **arguments}
    plain, _ = saved(tmp_path, settings)
    state = {k.replace("reg_token", "storage_tokens"): v for k, v in plain.state_dict().items()}
    if "blocks.0.attn.qkv.bias" in state:
        for i in range(4):  # keys of DINOv3 have none
            state[f"blocks.{i}.attn.qkv.bias"][64:128] = 0
    torch.save(state, tmp_path / "model.pth")
    start = from_weights("deepvit", str(tmp_path / "model.pth"))
    assert start.normalization.mean == (123.675, 116.28, 103.53)
    assert start.settings["rope"] == "dinov3"
    model = MODELS.build(start.settings)
    model.init_weights()
    image = torch.randn(1, 3, 64, 64)
    found, expected = (m.eval()(image)[-1] for m in (model, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_other_rotary_positions_are_refused(tmp_path):
    """EVA-02's shapes would fit a model without them."""
    eva02 = dict(TINY, rope="eva02", gated_mlp=True)
    model, _ = saved(tmp_path, eva02)
    state = model.state_dict()
    for i in range(4):
        bias = state.pop(f"blocks.{i}.attn.qkv.bias")
        state |= {f"blocks.{i}.attn.q_bias": bias[:64], f"blocks.{i}.attn.v_bias": bias[128:]}
    torch.save(state, tmp_path / "eva.pth")
    with pytest.raises(UserError, match=r"eva\.pth fits no architecture"):
        from_weights("deepvit", str(tmp_path / "eva.pth"), "clip")


def test_an_unknown_normalisation_is_asked_for(tmp_path):
    _, path = saved(tmp_path, TINY)
    with pytest.raises(UserError, match="give --normalization imagenet"):
        from_weights("vit", path)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_small_models_from_scratch(backbone):
    init_default_scope("mmseg")
    start = from_scratch(backbone, 40, 64, 5)
    model = MODELS.build(start.settings)
    assert model(torch.randn(2, 5, 64, 64))[0].shape == (2, 64, 8, 8)
    assert from_scratch(backbone, 5000, 352, 3).embed_dims == 192
