"""Modern plain transformers of timm load, and a head-mixing trunk begins at their function."""

import re

import pytest
import timm
import torch
from mmseg.registry import MODELS
from safetensors.torch import save_file
from timm.layers import SwiGLUPacked

from mmseg_deepvit.checkpoints import Checkpoint, convert_checkpoint
from mmseg_deepvit.checkpoints.normalization import CLIP, HALF, IMAGENET, SATELLITE
from mmseg_deepvit.errors import CheckpointError
from mmseg_deepvit.weights import calibrate_map_norms

PATCH, SIZE, DIMS, HEADS, DEPTH = 4, 24, 64, 2, 2
TINY = dict(
    img_size=SIZE,
    patch_size=PATCH,
    embed_dim=DIMS,
    depth=DEPTH,
    num_heads=HEADS,
    num_classes=0,
)
GRID = (SIZE // PATCH, SIZE // PATCH)
DINOV3 = dict(
    with_pos_embed=False,
    rope="dinov3",
    num_register_tokens=4,
    layer_scale_init=1e-5,
    norm_eps=1e-5,
)
PE = dict(rope="pe", pre_norm=True, norm_eps=1e-5)
EVA02 = dict(rope="eva02", gated_mlp=True, mlp_ratio=8 / 3)
GATED_DINOV2 = dict(mlp_layer=SwiGLUPacked, act_layer=torch.nn.SiLU, mlp_ratio=4)
#: timm's model and arguments, ours, and the images' normalisation, None where a file does not tell.
FAMILIES = {
    "DINOv3": ("vit_small_patch16_dinov3", {}, dict(DINOV3, qkv_bias=False), IMAGENET),
    "DINOv3 with biases": ("vit_small_patch16_dinov3_qkvb", {}, DINOV3, IMAGENET),
    "DINOv3 plus": (
        "vit_small_plus_patch16_dinov3",
        {},
        dict(DINOV3, qkv_bias=False, gated_mlp=True),
        IMAGENET,
    ),
    "DINOv3 7B": (
        "vit_7b_patch16_dinov3",
        {},
        dict(DINOV3, qkv_bias=False, gated_mlp=True, mlp_ratio=2),
        IMAGENET,
    ),
    "EVA-02 T, S": ("eva02_tiny_patch14_224", dict(use_fc_norm=False), EVA02, CLIP),
    "EVA-02 B, L": (
        "eva02_base_patch14_224",
        dict(use_fc_norm=False),
        dict(EVA02, mlp_norm=True),
        CLIP,
    ),
    "PE core": ("vit_pe_core_base_patch16_224", dict(ref_feat_shape=GRID), PE, HALF),
    "PE spatial": (
        "vit_pe_spatial_base_patch16_512",
        dict(ref_feat_shape=GRID),
        dict(PE, final_norm=False),
        HALF,
    ),
    "PE spatial G": (
        "vit_pe_spatial_gigantic_patch14_448",
        dict(ref_feat_shape=GRID, mlp_ratio=4),
        dict(PE, final_norm=False, with_cls_token=False, layer_scale_init=0.1),
        HALF,
    ),
    "EVA": (
        "eva_giant_patch14_224",
        dict(use_fc_norm=False, mlp_ratio=4),
        {},
        CLIP,
    ),
    "SBB with rotary positions": (
        "vit_medium_patch16_rope_reg1_gap_256",
        dict(use_fc_norm=False),
        dict(
            rope="eva02",
            with_pos_embed=False,
            with_cls_token=False,
            num_register_tokens=1,
            layer_scale_init=1e-5,
        ),
        None,
    ),
    "TIPSv2": (
        "vit_base_patch14_reg1_tipsv2",
        {},
        dict(num_register_tokens=1, layer_scale_init=1.0),
        None,
    ),
    "TIPSv2 G": (
        "vit_giant_patch14_reg1_tipsv2",
        dict(mlp_ratio=4),
        dict(num_register_tokens=1, layer_scale_init=1.0, gated_mlp=True, mlp_ratio=2),
        None,
    ),
    "ViT": ("vit_tiny_patch16_224", {}, {}, None),
    "DINOv2": ("vit_small_patch14_dinov2", {}, dict(layer_scale_init=1e-5), None),
    "DINOv2 G with registers": (
        "vit_giant_patch14_reg4_dinov2",
        dict(mlp_ratio=4),
        dict(num_register_tokens=4, layer_scale_init=1e-5, gated_mlp=True, mlp_ratio=2),
        None,
    ),
}
#: The backbones that take weights of plain transformers.
BACKBONES = {
    "PlainViT": dict(type="PlainViT"),
    "DiversePatchViT": dict(type="DiversePatchViT"),
    "DeepViT": dict(type="DeepViT"),
}


def plain_transformer(name, **arguments):
    """timm's model with weights that let every part show."""
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    model = timm.create_model(name, **TINY, dynamic_img_size=True, **arguments)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_factor = "gamma" in key or ("norm" in key and "weight" in key)
            parameter.copy_(1 + 0.2 * noise if is_factor else 0.15 * noise)
    return model.eval()


def warm_started(path, backbone="PlainViT", init_cfg=(), **overrides):
    cfg = dict(
        arch=dict(embed_dims=DIMS, num_layers=DEPTH, num_heads=HEADS, mlp_ratio=4),
        img_size=SIZE,
        patch_size=PATCH,
        interpolate_antialias=True,
        init_cfg=dict(type="Pretrained", checkpoint=str(path), warm_start=True, **dict(init_cfg)),
        **BACKBONES[backbone],
    )
    model = MODELS.build({**cfg, **overrides})
    model.init_weights()
    return model


def patches_of(model, images):
    return model.forward_features(images)[:, model.num_prefix_tokens :]


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
@pytest.mark.parametrize("backbone", BACKBONES)
def test_begins_at_the_pretrained_function(save, images, family, backbone):
    """Tokens at three sizes in evaluation, at the first training step, and gradients."""
    name, theirs, ours, normalization = FAMILIES[family]
    plain = plain_transformer(name, **theirs)
    path = save(plain.state_dict())
    model = warm_started(path, backbone, **ours).eval()
    assert model.trained_input == (str(path), normalization)
    for size in ((SIZE, SIZE), (32, 32), (16, 40)):
        x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))
        expected = patches_of(plain, x)
        assert expected.std() > 0.1
        # Tokens without a final norm reach 14, where fp32 rounds to 1e-6, so float64 looks closer.
        torch.testing.assert_close(our_patches(model, x), expected)
        exact = patches_of(plain.double(), x.double())
        ours_exact = our_patches(model.double(), x.double())
        torch.testing.assert_close(ours_exact, exact, rtol=0, atol=5e-6)
        plain.float(), model.float()
    calibrate_map_norms(model, [images])
    expected = patches_of(plain, images)
    training = our_patches(model.train(), images)
    torch.testing.assert_close(training, expected)

    # Batch statistics pass gradients of their own.
    actual = our_patches(model.eval(), images) if backbone == "DeepViT" else training
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3))
    expected.backward(upstream)
    actual.backward(upstream)
    gradients = {k: p.grad for k, p in model.named_parameters()}
    compared = 0
    for key, parameter in plain.named_parameters():
        ours = gradients.get(key)
        if ours is not None and parameter.grad is not None and ours.shape == parameter.grad.shape:
            scale = parameter.grad.abs().max()
            torch.testing.assert_close(ours / scale, parameter.grad / scale, rtol=0, atol=1e-4)
            compared += 1
    assert compared >= 6 * DEPTH


def official_dinov3(state):
    """The names of facebookresearch/dinov3; with a key bias that its mask leaves out."""
    names = {"reg_token": "storage_tokens"}
    official = {}
    for key, value in state.items():
        new = names.get(key, key).replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        for theirs, published in (("fc1_g", "w1"), ("fc1_x", "w2"), ("fc2", "w3")):
            if "blocks.0.mlp.fc1_g.weight" in state:
                new = new.replace(f"mlp.{theirs}.", f"mlp.{published}.")
        official[new] = value
    for i in range(DEPTH):
        q, v = (official.pop(f"blocks.{i}.attn.{k}_bias", None) for k in "qv")
        bias = torch.zeros(3 * DIMS) if q is None else torch.cat([q, torch.ones(DIMS), v])
        official[f"blocks.{i}.attn.qkv.bias"] = bias
        official[f"blocks.{i}.attn.qkv.bias_mask"] = torch.ones(3 * DIMS)
    official |= {"mask_token": torch.zeros(1, DIMS), "rope_embed.periods": torch.ones(DIMS // 8)}
    return official | {"local_cls_norm.weight": torch.ones(DIMS)}


def official_eva02(state):
    """The names of baaivision/EVA."""
    names = (("fc1_g", "w1"), ("fc1_x", "w2"), ("fc2", "w3"), ("norm", "ffn_ln"))
    official = {}
    for key, value in state.items():
        new = key.replace(".q_proj.bias", ".q_bias").replace(".v_proj.bias", ".v_bias")
        for theirs, published in names:
            new = new.replace(f"mlp.{theirs}.", f"mlp.{published}.")
        official[new] = value
    frequencies = {f"rope.freqs_{kind}": torch.zeros(36, DIMS // HEADS) for kind in ("cos", "sin")}
    return official | frequencies | {"mask_token": torch.zeros(1, 1, DIMS)}


def official_dinov2(state):
    names = {"reg_token": "register_tokens", "pos_embed": "pos_embed"}
    official = {names.get(k, k): v for k, v in state.items()}
    for i in range(DEPTH):
        for theirs, published in (("fc1", "w12"), ("fc2", "w3")):
            for kind in ("weight", "bias"):
                value = official.pop(f"blocks.{i}.mlp.{theirs}.{kind}")
                official[f"blocks.{i}.mlp.{published}.{kind}"] = value
    official["pos_embed"] = torch.cat([torch.zeros(1, 1, DIMS), official["pos_embed"]], 1)
    return official | {"mask_token": torch.zeros(1, DIMS)}


def official_perception_encoder(state):
    """The names of facebookresearch/perception_models; the core model comes with its text."""
    prefix = "visual." if "attn_pool.latent" in state else ""
    names = (
        ("patch_embed.proj.", "conv1."),
        ("cls_token", "class_embedding"),
        ("pos_embed", "positional_embedding"),
        ("blocks.", "transformer.resblocks."),
        ("norm_pre.", "ln_pre."),
        ("norm1.", "ln_1."),
        ("norm2.", "ln_2."),
        ("gamma_1", "ls_1.gamma"),
        ("gamma_2", "ls_2.gamma"),
        ("attn.qkv.", "attn.in_proj_"),
        ("attn.proj.", "attn.out_proj."),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
        ("attn_pool.latent", "attn_pool.probe"),
    )
    official = {}
    for key, value in state.items():
        new = "ln_post" + key[4:] if key.startswith("norm.") else key
        for theirs, published in names:
            new = new.replace(theirs, published)
        squeezed = key in ("cls_token", "pos_embed")
        official[prefix + new] = value.flatten(0, -2).squeeze(0) if squeezed else value
    if prefix:
        text = {"positional_embedding": torch.zeros(7, DIMS), "ln_final.bias": torch.zeros(DIMS)}
        text["transformer.resblocks.0.attn.in_proj_weight"] = torch.zeros(3 * DIMS, DIMS)
        official |= {**text, "visual.proj": torch.zeros(DIMS, 8), "logit_scale": torch.tensor(1.0)}
    return official


def hugging_face(state, names, heads):
    """Names of Hugging Face's transformers, whose own models were at the same features (5.24)."""
    published = {}
    for key, value in state.items():
        new = key
        for theirs, official in names:
            new = re.sub(theirs, official, new)
        values = value.chunk(3) if ".qkv." in new else [value]
        published |= {new.replace("attn.qkv", h): v for h, v in zip(heads, values, strict=False)}
    return published


HF_EMBEDDINGS = (
    ("^cls_token", "embeddings.cls_token"),
    ("^pos_embed", "embeddings.position_embeddings"),
    ("^reg_token", "embeddings.register_tokens"),
)
HF_ENCODER = (
    *HF_EMBEDDINGS,
    (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
    (r"^norm\.", "layernorm."),
    ("^blocks", "encoder.layer"),
    (r"attn\.proj", "attention.output.dense"),
)
HF_HEADS = [f"attention.attention.{kind}" for kind in ("query", "key", "value")]


def hugging_face_vit(state):
    """With a classifier, whose file names the trunk."""
    block = (
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        (r"mlp\.fc1", "intermediate.dense"),
        (r"mlp\.fc2", "output.dense"),
    )
    trunk = hugging_face(state, (*HF_ENCODER, *block), HF_HEADS)
    return {f"vit.{k}": v for k, v in trunk.items()} | {"classifier.bias": torch.zeros(5)}


def hugging_face_dinov2(state):
    block = (
        (r"ls(\d)\.gamma", r"layer_scale\1.lambda1"),
        (r"mlp\.fc1", "mlp.weights_in"),
        (r"mlp\.fc2", "mlp.weights_out"),
    )
    published = hugging_face(state, (*HF_ENCODER, *block), HF_HEADS)
    positions = published["embeddings.position_embeddings"]
    positions = torch.cat([torch.zeros(1, 1, DIMS), positions], 1)
    mask = {"embeddings.mask_token": torch.zeros(1, DIMS)}
    return published | mask | {"embeddings.position_embeddings": positions}


def hugging_face_dinov3(state):
    names = (
        *HF_EMBEDDINGS,
        (r"^patch_embed\.proj", "embeddings.patch_embeddings"),
        ("^blocks", "layer"),
        (r"attn\.proj", "attention.o_proj"),
        (r"attn\.([qkv])_bias", r"attention.\1_proj.bias"),
        (r"gamma_(\d)", r"layer_scale\1.lambda1"),
        (r"mlp\.fc1_g", "mlp.gate_proj"),
        (r"mlp\.fc1(_x)?", "mlp.up_proj"),
        (r"mlp\.fc2", "mlp.down_proj"),
    )
    published = hugging_face(state, names, [f"attention.{kind}_proj" for kind in "qkv"])
    return published | {"embeddings.mask_token": torch.zeros(1, 1, DIMS)}


@pytest.mark.parametrize(
    ("family", "publish", "overrides"),
    [
        ("DINOv3", official_dinov3, {}),  # biases that are all zero
        ("DINOv3 with biases", official_dinov3, {}),
        ("DINOv3 plus", official_dinov3, dict(qkv_bias=True)),
        ("EVA-02 B, L", official_eva02, {}),
        ("DINOv2 G with registers", official_dinov2, {}),
        ("PE core", official_perception_encoder, {}),
        ("PE spatial", official_perception_encoder, {}),
        ("PE spatial G", official_perception_encoder, {}),
        ("ViT", hugging_face_vit, {}),
        ("DINOv2 G with registers", hugging_face_dinov2, {}),
        ("DINOv3", hugging_face_dinov3, {}),
        ("DINOv3 with biases", hugging_face_dinov3, {}),
        ("DINOv3 plus", hugging_face_dinov3, {}),
    ],
)
def test_files_of_the_authors_and_of_hugging_face(save, images, family, publish, overrides):
    name, theirs, ours, _ = FAMILIES[family]
    plain = plain_transformer(name, **theirs)
    model = warm_started(save(publish(plain.state_dict())), "DeepViT", **{**ours, **overrides})
    expected = patches_of(plain, images)
    torch.testing.assert_close(our_patches(model.eval(), images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "normalization"),
    [
        ("dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth", IMAGENET),
        ("dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth", SATELLITE),
        ("dinov3-vitl16-pretrain-sat493m/model.pth", SATELLITE),
    ],
)
def test_the_path_of_a_file_tells_satellite_images(tmp_path, file, normalization):
    state = official_dinov3(plain_transformer("vit_small_patch16_dinov3").state_dict())
    (tmp_path / file).parent.mkdir(exist_ok=True)
    torch.save(state, tmp_path / file)
    model = warm_started(tmp_path / file, **FAMILIES["DINOv3"][2])
    assert model.trained_input == (str(tmp_path / file), normalization)


@pytest.mark.parametrize("family", ["DINOv3 plus", "EVA-02 B, L", "PE spatial"])
def test_own_files_load_again(save, images, family):
    """A file of a training run has the config, which tells the rotary positions."""
    name, theirs, ours, _ = FAMILIES[family]
    plain = plain_transformer(name, **theirs)
    first = warm_started(save(plain.state_dict()), **ours).eval()
    cfg = f"model = dict(backbone=dict(rope={ours['rope']!r}))\n"
    path = save({"state_dict": first.state_dict(), "meta": {"cfg": cfg}})
    again = warm_started(path, **ours).eval()
    torch.testing.assert_close(again.state_dict(), first.state_dict(), rtol=0, atol=0)
    assert torch.equal(again(images)[0], first(images)[0])
    other = "eva02" if ours["rope"] == "dinov3" else "dinov3"
    with pytest.raises(CheckpointError, match=f"set rope={ours['rope']!r}"):
        warm_started(path, **{**ours, "rope": other})


def test_converted_files_tell_their_rotary_positions(save):
    name, theirs, ours, _ = FAMILIES["EVA-02 T, S"]
    state = convert_checkpoint(
        Checkpoint(plain_transformer(name, **theirs).state_dict(), "a.pth")
    ).state
    path = save({"state_dict": state, "meta": {"family": "eva02"}})
    warm_started(path, **ours)
    with pytest.raises(CheckpointError, match="the model has none; set rope='eva02'"):
        warm_started(path, **{**ours, "rope": None})


@pytest.mark.parametrize(
    ("family", "overrides", "message"),
    [
        ("DINOv3", dict(rope="eva02"), r"has those of rope='eva02'; set rope='dinov3'"),
        ("EVA-02 T, S", dict(rope=None), r"the model has none; set rope='eva02'"),
        ("EVA-02 T, S", dict(gated_mlp=False), "set gated_mlp to match"),
        ("EVA-02 B, L", dict(mlp_norm=False), "only the file has a norm inside.*set mlp_norm"),
        (
            "PE core",
            dict(img_size=32),
            r"of a grid of \(6, 6\) .* set rope=dict\(type='pe', reference_grid=\(6, 6\)\)",
        ),
        ("PE core", dict(pre_norm=False), "only the file has a norm before.*set pre_norm"),
        ("DINOv3", dict(qkv_bias=True), "only the model has a bias.*set qkv_bias"),
        ("DINOv3 with biases", dict(qkv_bias=False), "only the file has a bias.*set qkv_bias"),
        ("DINOv3", dict(patch_size=8), "set patch_size to match, or resize_patches=True"),
    ],
)
def test_models_that_compute_something_else_are_refused(save, family, overrides, message):
    name, theirs, ours, _ = FAMILIES[family]
    path = save(plain_transformer(name, **theirs).state_dict())
    with pytest.raises(CheckpointError, match=message) as caught:
        warm_started(path, **{**ours, **overrides})
    assert "\n" not in str(caught.value)


def test_an_incomplete_file_is_refused(save):
    state = plain_transformer("eva02_base_patch14_224", use_fc_norm=False).state_dict()
    del state["blocks.1.attn.k_proj.weight"]
    with pytest.raises(CheckpointError, match=r"lacks blocks\.1\.attn\.k_proj\.weight"):
        warm_started(save(state), **FAMILIES["EVA-02 B, L"][2])


def test_another_patch_size(save, images):
    """Patches that are resized one by one have the same tokens, as FlexiViT has it."""
    name, theirs, ours, _ = FAMILIES["DINOv2"]
    plain = plain_transformer(name, **theirs)
    path = save(plain.state_dict())
    options = dict(patch_size=2 * PATCH, img_size=2 * SIZE, init_cfg=dict(resize_patches=True))
    model = warm_started(path, **options, **ours).eval()
    patches = images.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # (B, 3, h, w, patch, patch)
    resized = torch.nn.functional.interpolate(
        patches.flatten(0, 2), (2 * PATCH, 2 * PATCH), mode="bicubic", antialias=True
    )
    resized = resized.reshape(*patches.shape[:4], 2 * PATCH, 2 * PATCH)
    large = resized.permute(0, 1, 2, 4, 3, 5).reshape(4, 3, 2 * SIZE, 2 * SIZE)
    torch.testing.assert_close(
        our_patches(model, large), patches_of(plain, images), rtol=0, atol=1e-4
    )


def test_from_timm_by_name(tmp_path, monkeypatch):
    """Its name gives arguments, weights and the images' normalisation."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "eva02_tiny_patch14_224.mim_in22k"
    plain = timm.create_model(name, dynamic_img_size=True).eval()
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    save_file(plain.state_dict(), tmp_path / f"hub/checkpoints/{name}.safetensors")
    init_cfg = dict(type="Pretrained", checkpoint=f"timm://{name}", warm_start=True)
    cfg = dict(type="DiversePatchViT", arch=f"timm://{name}", img_size=28, init_cfg=init_cfg)
    model = MODELS.build(cfg)
    model.init_weights()
    assert model.trained_input[1].agrees(CLIP)
    small = timm.create_model(name, img_size=28)
    resized = timm.models.eva.checkpoint_filter_fn(plain.state_dict(), small)
    small.load_state_dict(resized)
    images = torch.randn(1, 3, 28, 28)
    expected = patches_of(small.eval(), images)
    torch.testing.assert_close(our_patches(model.eval(), images), expected, rtol=0, atol=1e-5)
