"""A head-mixing trunk that begins as a plain transformer, and then learns to mix."""

import pytest
import timm
import torch
from mmengine.logging import MMLogger
from mmseg.registry import MODELS
from safetensors.torch import save_file
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from mmseg_deepvit.checkpoints.normalization import HALF
from mmseg_deepvit.errors import CheckpointError
from mmseg_deepvit.weights import calibrate_map_norms

PATCH, SIZE, DIMS, HEADS, DEPTH = 4, 24, 128, 2, 3
PLAIN = dict(img_size=SIZE, patch_size=PATCH, embed_dim=DIMS, depth=DEPTH, num_heads=HEADS)
# timm's arguments, and what they are called here.
FAMILIES = {
    "augreg, DeiT, DINO, MAE": ({}, {}),
    "DeiT-III": ({"no_embed_class": True, "init_values": 1e-6}, {"layer_scale_init": 1e-6}),
    "DINOv2": ({"init_values": 1e-5}, {"layer_scale_init": 1e-5}),
    "DINOv2 with registers": (
        {"init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True},
        {"layer_scale_init": 1e-5, "num_register_tokens": 4},
    ),
    "registers with positions": ({"reg_tokens": 2}, {"num_register_tokens": 2}),
    "distilled DeiT": ({"distilled": True}, {"num_register_tokens": 1}),
    "no class token": ({"class_token": False, "global_pool": "avg"}, {"with_cls_token": False}),
}


def plain_transformer(distilled=False, **arguments):
    """timm's model with weights that let every part show."""
    kind = VisionTransformerDistilled if distilled else VisionTransformer
    model = kind(**PLAIN, num_classes=5, **arguments)
    if arguments.get("global_pool") == "avg":
        model.norm, model.fc_norm = model.fc_norm, torch.nn.Identity()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_factor = "gamma" in name or ("norm" in name and "weight" in name)
            parameter.copy_(1 + 0.2 * noise if is_factor else 0.15 * noise)
    return model.eval()


def patches_of(model, images):
    features = model.forward_features(images)
    return features[:, model.num_prefix_tokens :]


def warm_started(path, backbone="DeepViT", **overrides):
    cfg = dict(
        type=backbone,
        arch=dict(embed_dims=DIMS, num_layers=DEPTH, num_heads=HEADS, mlp_ratio=4),
        img_size=SIZE,
        patch_size=PATCH,
        init_cfg=dict(type="Pretrained", checkpoint=str(path), warm_start=True),
    )
    model = MODELS.build({**cfg, **overrides})
    model.init_weights()
    return model


def our_patches(model, images):
    return model(images)[0].flatten(2).transpose(1, 2)


@pytest.fixture
def save(tmp_path):
    def save(state):
        torch.save(state, tmp_path / "plain.pth")
        return tmp_path / "plain.pth"

    return save


@pytest.fixture
def images():
    return torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backbone", ["DeepViT", "DiversePatchViT", "PlainViT"])
def test_begins_at_the_pretrained_function(save, images, family, backbone):
    """Features of evaluation and of the first training step, whatever the maps' norm."""
    theirs, ours = FAMILIES[family]
    plain = plain_transformer(**theirs)
    path = save({"model": plain.state_dict()})
    model = warm_started(path, backbone, **ours)
    expected = patches_of(plain, images)
    assert expected.std() > 0.1
    torch.testing.assert_close(our_patches(model.eval(), images), expected, rtol=0, atol=1e-5)
    calibrate_map_norms(model, [images])
    torch.testing.assert_close(our_patches(model.eval(), images), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(our_patches(model.train(), images), expected, rtol=0, atol=1e-5)


def test_uncalibrated_norms_would_not(save, images):
    """Without calibration, the norms change the maps in training."""
    plain = plain_transformer()
    model = warm_started(save(plain.state_dict())).train()
    assert (our_patches(model, images) - patches_of(plain, images)).abs().max() > 0.1


def test_dinov2_as_published(save, images):
    """Its own names: registers without a position, a class token with one, chunked blocks."""
    plain = plain_transformer(init_values=1e-5, reg_tokens=4)
    with torch.no_grad():
        plain.pos_embed[:, 1:5] = 0
    state = plain.state_dict()
    state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.zeros(1, DIMS)
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], state["pos_embed"][:, 5:]], 1)
    state = {k.replace("blocks.", "blocks.0."): v for k, v in state.items() if "head" not in k}
    model = warm_started(save(state), layer_scale_init=1e-5, num_register_tokens=4).eval()
    torch.testing.assert_close(
        our_patches(model, images), patches_of(plain, images), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("norm", [None, {"type": "BN"}])
def test_learns_to_mix(save, images, norm):
    model = warm_started(save(plain_transformer().state_dict()), mix_norm_cfg=norm)
    assert torch.equal(model.blocks[0].attn.post_mix.weight, torch.eye(HEADS))
    calibrate_map_norms(model, [images])
    our_patches(model.train(), images).square().mean().backward()
    for block in model.blocks:
        grad = block.attn.post_mix.weight.grad
        assert (grad - grad.diag().diag()).abs().max() > 0
        if norm:
            assert block.attn.mix_norm.weight.grad.abs().max() > 0


def test_calibration_measures_the_maps(save, images):
    """γ is the deviation of the maps over all batches, whose mean is 1/N for each head."""
    model = warm_started(save(plain_transformer().state_dict())).train()
    model.blocks[1].eval()
    names = calibrate_map_norms(model, [images[:3], images[3:]])
    assert names == [f"blocks.{i}.attn.mix_norm" for i in range(DEPTH)]
    assert [block.training for block in model.blocks] == [True, False, True]
    norm = model.blocks[0].attn.mix_norm
    tokens = (SIZE // PATCH) ** 2 + 1
    torch.testing.assert_close(norm.bias.data, torch.full((HEADS,), 1 / tokens))
    x = model.blocks[0].norm1(model.embed(images)[0])
    q, k, _ = model.blocks[0].attn.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    maps = (q @ k.mT * model.blocks[0].attn.scale).softmax(-1)
    variances = [part.var(dim=(0, 2, 3), correction=0) for part in (maps[:3], maps[3:])]
    expected = (torch.stack(variances).mean(0) + norm.eps).sqrt()
    torch.testing.assert_close(norm.weight.data, expected, rtol=1e-4, atol=0)


def test_calibration_leaves_what_has_seen_data(save, images):
    model = warm_started(save(plain_transformer().state_dict()))
    calibrate_map_norms(model, [images])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert calibrate_map_norms(model, [2 * images]) == []
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_calibration_leaves_blocks_that_are_not_run(save, images):
    model = warm_started(save(plain_transformer().state_dict()), out_indices=(0,))
    assert calibrate_map_norms(model, [images]) == ["blocks.0.attn.mix_norm"]


def test_calibration_needs_a_batch(save):
    model = warm_started(save(plain_transformer().state_dict()))
    with pytest.raises(ValueError, match="needs at least one batch"):
        calibrate_map_norms(model, [])
    assert model.blocks[0].attn.mix_norm is not None


def test_a_calibration_that_fails_leaves_no_trace(save, images):
    model = warm_started(save(plain_transformer().state_dict())).train()
    model.blocks[1].eval()

    def batches():
        yield images
        raise OSError("a damaged image")

    with pytest.raises(OSError, match="damaged"):
        calibrate_map_norms(model, batches())
    assert [block.training for block in model.blocks] == [True, False, True]
    assert all(block.attn.mix_norm is not None for block in model.blocks)
    assert not any(block.attn._forward_hooks for block in model.blocks)


def test_a_mixing_checkpoint_stays_what_it_is(save, images):
    """With warm_start, but nothing missing: the file's own mixes and norms."""
    trained = warm_started(save(plain_transformer().state_dict()))
    for _ in range(2):
        trained.train()(images)
    with torch.no_grad():
        trained.blocks[0].attn.post_mix.weight.normal_()
    again = warm_started(save(trained.state_dict()))
    torch.testing.assert_close(again.state_dict(), trained.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mix_norm_cfg": {"type": "LN"}}, r"LayerNorm of the maps always.*set mix_norm_cfg"),
        ({"mix_scale": 0.5}, r"with mix_scale=0.5 .* needs mix_scale=1.0"),
        ({"residual_scale": 0.5}, r"with residual_scale=0.5 .* needs residual_scale=1.0"),
        ({"with_cls_token": False}, r"only the file has a class token.*with_cls_token"),
        ({"num_register_tokens": 1}, r"only the model has register tokens.*num_register_tokens"),
        ({"num_layers": 4}, r"3 blocks and the model 4"),
        ({"patch_size": 8}, r"patch_embed.proj.weight.*patch_size"),
        ({"mlp_ratio": 3}, r"mlp_ratio"),
        ({"embed_dims": 192}, r"embed_dims"),
        (
            {"init_cfg": {"type": "Pretrained", "checkpoint": "plain.pth"}},
            r"only the model has mixing.*warm_start",
        ),
    ],
)
def test_models_that_cannot_begin_as_the_plain_one(save, monkeypatch, tmp_path, overrides, message):
    path = save(plain_transformer().state_dict())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        warm_started(path, **overrides)
    assert "\n" not in str(caught.value)


@pytest.fixture
def timm_vit(tmp_path, monkeypatch):
    """A model of timm with random weights where its pretrained ones are looked for."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    name = "vit_tiny_patch16_224.augreg_in21k"
    save_file(model.state_dict(), folder / f"{name}.safetensors")
    return model, f"timm://{name}"


TINY = dict(embed_dims=192, num_layers=12, num_heads=3, mlp_ratio=4)


def test_from_timm_by_name(timm_vit):
    theirs, name = timm_vit
    model = warm_started(name, arch=TINY, img_size=224, patch_size=16, out_indices=(11,)).eval()
    images = torch.randn(1, 3, 224, 224)
    expected = theirs.forward_features(images)[:, 1:]
    torch.testing.assert_close(our_patches(model, images), expected, rtol=0, atol=1e-4)
    assert model.trained_input == (name, HALF)


def test_timm_tells_the_number_of_heads(timm_vit):
    with pytest.raises(CheckpointError, match="has 3 heads and the model 6; set num_heads=3"):
        warm_started(timm_vit[1], arch={**TINY, "num_heads": 6}, img_size=224, patch_size=16)


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("backbone", ["PlainViT", "DeepViT", "DiversePatchViT"])
@pytest.mark.parametrize("family", ["augreg, DeiT, DINO, MAE", "DINOv2"])
def test_a_deeper_model_begins_as_the_file(save, images, family, backbone, times):
    """Copies change the output by their LayerScale times what a block adds; their weights learn."""
    theirs = plain_transformer(**FAMILIES[family][0])
    path = save(theirs.state_dict())
    init = dict(type="Pretrained", checkpoint=str(path), warm_start=True, repeat_blocks=times)
    arch = dict(embed_dims=DIMS, num_layers=times * DEPTH, num_heads=HEADS, mlp_ratio=4)
    deep = dict(arch=arch, layer_scale_init=1e-7, init_cfg=init)
    if backbone == "DeepViT":
        deep["mix_norm_cfg"] = None
    model = warm_started(path, backbone, **deep)
    found = our_patches(model.train(), images)
    torch.testing.assert_close(found, patches_of(theirs, images), rtol=1e-4, atol=1e-4)
    found.square().sum().backward()
    weights = model.state_dict()
    for i in range(times * DEPTH):
        qkv = theirs.state_dict()[f"blocks.{i // times}.attn.qkv.weight"]
        assert torch.equal(weights[f"blocks.{i}.attn.qkv.weight"], qkv)
        assert (weights[f"blocks.{i}.ls1.gamma"] == 1e-7).all() == bool(i % times)
        assert model.blocks[i].attn.qkv.weight.grad.abs().max() > 0
        assert model.blocks[i].ls1.gamma.grad.abs().max() > 0


def test_a_deeper_model_needs_layer_scale_and_a_number(save):
    path = save(plain_transformer().state_dict())
    arch = dict(embed_dims=DIMS, num_layers=2 * DEPTH, num_heads=HEADS, mlp_ratio=4)
    init = dict(type="Pretrained", checkpoint=str(path), warm_start=True)
    with pytest.raises(CheckpointError, match="set layer_scale_init=1e-5"):
        warm_started(path, "PlainViT", arch=arch, init_cfg=dict(init, repeat_blocks=2))
    scaled = dict(arch=arch, layer_scale_init=1e-5)
    with pytest.raises(ValueError, match="repeat_blocks must be at least 1, got 0"):
        warm_started(path, "PlainViT", **scaled, init_cfg=dict(init, repeat_blocks=0))
    with pytest.raises(CheckpointError, match="9 blocks and the model 6"):
        warm_started(path, "PlainViT", **scaled, init_cfg=dict(init, repeat_blocks=3))


@pytest.mark.parametrize(
    ("settings", "is_told"),
    [
        (dict(mix_norm_cfg=None), True),
        (dict(mix_norm_cfg=None, mix_bias=False), False),
        (dict(mix_norm_cfg={"type": "BN"}), False),
    ],
)
def test_a_bias_that_no_norm_cancels_is_told(save, images, monkeypatch, settings, is_told):
    """Its gradient is far above that of all weights of the mixes."""
    lines = []
    monkeypatch.setattr(MMLogger, "callHandlers", lambda self, record: lines.append(record.msg))
    model = warm_started(save(plain_transformer().state_dict()), **settings)
    told = [line for line in lines if "set mix_bias=False" in line]
    assert [line.split()[0] for line in told] == [str(DEPTH)] * is_told
    calibrate_map_norms(model, [images])
    our_patches(model.train(), images).square().mean().backward()
    mixes = [block.attn.post_mix for block in model.blocks]
    weights = max(mix.weight.grad.abs().max() for mix in mixes)
    biases = max(mix.bias.grad.abs().max() if mix.bias is not None else 0.0 for mix in mixes)
    assert (biases > 5 * weights) == is_told
