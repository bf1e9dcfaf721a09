import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmseg_deepvit.backbones.embed import resize_pos_embed
from mmseg_deepvit.backbones.vit import ViTTrunk

SMALL = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dims": 24,
    "num_layers": 4,
    "num_heads": 4,
    "post_mix": True,
    "mix_norm_cfg": {"type": "BN"},
}


def small(**overrides):
    model = ViTTrunk(**{**SMALL, **overrides})
    model.init_weights()
    return model


@pytest.mark.parametrize("stem", ["linear", "conv"])
@pytest.mark.parametrize(
    ("size", "grid"),
    [((32, 32), (4, 4)), ((48, 24), (6, 3)), ((5, 3), (1, 1)), ((33, 70), (5, 9))],
    ids=str,
)
def test_any_size(stem, size, grid):
    (out,) = small(stem=stem)(torch.randn(2, 3, *size))
    assert out.shape == (2, 24, *grid)
    assert out.isfinite().all()
    assert out.is_contiguous()


def test_rectangular_patches_and_images():
    model = small(img_size=(32, 64), patch_size=(8, 16))
    assert model.patch_grid == (4, 4)
    assert model(torch.randn(1, 3, 40, 64))[0].shape == (1, 24, 5, 4)


def test_padding_is_zeros_below_and_right():
    model = small().eval()
    image = torch.randn(1, 3, 27, 30)
    padded = torch.zeros(1, 3, 32, 32)
    padded[..., :27, :30] = image
    assert torch.equal(model(image)[0], model(padded)[0])


@pytest.mark.parametrize("indices", [(3, 0), (-1, 1, -3), [2], 1, (2, 2)], ids=str)
def test_out_indices_in_any_order(indices):
    state = small().state_dict()
    every = small(out_indices=(0, 1, 2, 3)).eval()
    some = small(out_indices=indices).eval()
    every.load_state_dict(state)
    some.load_state_dict(state)
    image = torch.randn(1, 3, 32, 32)
    wanted = [indices] if isinstance(indices, int) else indices
    features = every(image)
    for ours, i in zip(some(image), wanted, strict=True):
        assert torch.equal(ours, features[i])


def test_final_norm_acts_on_the_last_block_alone():
    model = small(out_indices=(2, 3)).eval()
    with torch.no_grad():
        model.norm.weight.zero_()
        model.norm.bias.fill_(2.0)
    third, last = model(torch.randn(1, 3, 32, 32))
    assert (last == 2).all()
    assert third.std() > 0
    assert isinstance(small(final_norm=False).norm, nn.Identity)


@pytest.mark.parametrize("with_cp", [False, True])
@pytest.mark.parametrize("backend", ["explicit", "blockwise"])
def test_gradients_reach_every_parameter(with_cp, backend):
    model = small(with_cp=with_cp, stem="conv", pre_mix=True, attn_backend=backend)
    sum(out.square().sum() for out in model(torch.randn(2, 3, 32, 40))).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize("backend", ["explicit", "blockwise"])
def test_recomputation_changes_nothing(backend):
    """Output, gradients, dropout and running statistics are those of the plain run."""
    arguments = dict(
        drop_path_rate=0.3, attn_drop_rate=0.2, drop_rate=0.1, attn_backend=backend, pre_mix=True
    )
    arguments |= dict(embed_dims=32, rope="pe", gated_mlp=True, mlp_norm=True, pre_norm=True)
    plain, recomputed = small(**arguments), small(**arguments, with_cp=True)
    recomputed.load_state_dict(copy.deepcopy(plain.state_dict()))
    image = torch.randn(2, 3, 32, 32)
    results = []
    for model in (plain, recomputed):
        torch.manual_seed(3)
        (out,) = model(image)
        out.square().sum().backward()
        results.append((out, [p.grad for p in model.parameters()], dict(model.named_buffers())))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert plain.blocks[0].attn.mix_norm.num_batches_tracked == 1


@pytest.mark.parametrize("frozen_stages", [0, 2, 4, "all"])
def test_frozen_stages(frozen_stages):
    model = small(frozen_stages=frozen_stages, stem="conv")
    assert model.train() is model
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad] or [torch.zeros(1)], 1
    )
    out = model(torch.randn(2, 3, 32, 32))[0].square().sum()
    if out.requires_grad:
        out.backward()
        optimizer.step()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    frozen = ("patch_embed", "pos_embed", "cls_token")
    blocks = 4 if frozen_stages == "all" else frozen_stages
    frozen += tuple(f"blocks.{i}." for i in range(blocks))
    assert not [k for k in changed if k.startswith(frozen)]
    free = [n for n, p in model.named_parameters() if p.requires_grad]
    cancelled = {n for n in free if n.endswith("post_mix.bias")}  # by the norm of the maps
    assert set(free) - cancelled <= changed
    assert bool(free) == (blocks < 4)


@pytest.mark.parametrize("with_cp", [False, True])
@pytest.mark.parametrize("backend", ["explicit", "blockwise", "auto"])
def test_a_trunk_that_is_all_frozen_is_in_evaluation(backend, with_cp):
    """Outputs, statistics and dropout are evaluation's, and nothing is kept for a gradient."""
    noise = dict(drop_rate=0.2, attn_drop_rate=0.2, drop_path_rate=0.5)
    arguments = dict(stem="conv", pre_mix=True, attn_backend=backend, **noise)
    free = small(**arguments)
    free(torch.randn(2, 3, 32, 32))  # so that evaluation has other statistics than a batch
    frozen = small(**arguments, frozen_stages="all", with_cp=with_cp)
    frozen.load_state_dict(free.state_dict())
    before = copy.deepcopy(frozen.state_dict())
    images = torch.randn(2, 3, 40, 24)
    (expected,) = free.eval()(images)
    assert frozen.train() is frozen
    (found,) = frozen(images)
    # PyTorch multiplies matrices in another order where a gradient is wanted.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert expected.requires_grad
    assert not found.requires_grad
    torch.testing.assert_close(dict(frozen.state_dict()), dict(before), rtol=0, atol=0)

    weights = torch.randn_like(found)
    wanted = [
        torch.autograd.grad((m(images.requires_grad_())[0] * weights).sum(), images)
        for m in (free, frozen)
    ]
    torch.testing.assert_close(wanted[1], wanted[0], rtol=1e-5, atol=1e-6)


def test_the_norm_before_the_blocks_is_frozen_with_the_embedding():
    frozen = small(frozen_stages=0, pre_norm=True).train()
    assert not frozen.norm_pre.training
    assert not frozen.norm_pre.weight.requires_grad
    assert small(pre_norm=True).norm_pre.weight.requires_grad


def test_blocks_after_the_last_output_need_no_gradient():
    model = small(out_indices=(0, 2))
    sum(out.sum() for out in model(torch.randn(2, 3, 32, 32))).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert not model.blocks[3].mlp.fc1.weight.requires_grad
    assert not model.norm.weight.requires_grad


def test_other_initialisers_of_mmengine():
    model = ViTTrunk(**SMALL, init_cfg=[{"type": "Constant", "layer": "Linear", "val": 0.5}])
    model.init_weights()
    assert (model.blocks[0].mlp.fc1.weight == 0.5).all()


def test_norm_eval_keeps_batch_norm_statistics():
    model = small(norm_eval=True, stem="conv").train()
    before = {k: v.clone() for k, v in model.named_buffers()}
    model(torch.randn(2, 3, 32, 32))
    assert model.training
    assert model.blocks[0].training
    torch.testing.assert_close(dict(model.named_buffers()), before, rtol=0, atol=0)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_fp32_islands_under_autocast(device):
    """Softmax, mixing, map norm and LayerNorm see fp32; the result is near the fp32 one."""
    model = small().to(device)
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            module.register_forward_hook(lambda m, i, o, n=name: seen.update({n: o.dtype}))
    image = torch.randn(2, 3, 32, 32, device=device)
    (exact,) = model(image)
    with torch.autocast(device, torch.bfloat16):
        (out,) = model(image)
    assert set(seen.values()) == {torch.float32}
    assert (out.float() - exact).abs().max() < 0.1 * exact.abs().max()
    out.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def test_init_weights_is_reproducible_and_keeps_mixes_random():
    torch.manual_seed(5)
    first = small()
    torch.manual_seed(5)
    second = small()
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert 0.01 < first.pos_embed.std() < 0.03
    assert 0.01 < first.blocks[0].mlp.fc1.weight.std() < 0.03
    assert first.blocks[0].attn.post_mix.weight.std() > 0.15  # uniform in ±1/√heads
    assert first.is_init


def test_positions_of_a_plane_stay_a_plane():
    """A linear ramp resized keeps its slope inside, in both directions, class slot untouched."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
    ramp = torch.stack([rows, columns], -1).reshape(1, 96, 2)
    pos = torch.cat([torch.full((1, 1, 2), 9.0), ramp], 1)
    out = resize_pos_embed(pos, (8, 12), (16, 6), num_prefix=1, antialias=True)
    assert torch.equal(out[:, 0], pos[:, 0])
    grid = out[0, 1:].reshape(16, 6, 2)
    torch.testing.assert_close(grid[5:12, 3, 0].diff(), torch.full((6,), 0.5), rtol=0.05, atol=0)
    torch.testing.assert_close(grid[8, 1:5, 1].diff(), torch.full((3,), 2.0), rtol=0.05, atol=0)
    assert resize_pos_embed(pos, (8, 12), (8, 12), 1) is pos


@pytest.mark.parametrize(
    ("arguments", "antialias"), [({}, False), ({"interpolate_antialias": True}, True)]
)
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_positions_are_resized_as_the_arguments_say(mode, arguments, antialias):
    """Published code does not antialias; timm does. Images of another size show it."""
    model = small(final_norm=False, interpolate_mode=mode, **arguments).eval()
    model.pos_embed.data.normal_()
    images = torch.zeros(1, 3, 24, 16)
    plain = model.patch_embed(images)[0]
    positions = (model.embed(images)[0][:, 1:] - plain).unflatten(1, (3, 2)).permute(0, 3, 1, 2)
    grid = model.pos_embed[:, 1:].unflatten(1, model.patch_grid).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, (3, 2), mode=mode, antialias=antialias)
    torch.testing.assert_close(positions, expected, rtol=0, atol=1e-5)


def test_positions_keep_their_precision():
    pos = torch.randn(1, 17, 4, dtype=torch.float64)
    exact = resize_pos_embed(pos, (4, 4), (7, 5), 1)
    rounded = resize_pos_embed(pos.float(), (4, 4), (7, 5), 1)
    assert exact.dtype == torch.float64
    assert not torch.equal(exact, exact.float().double())
    assert rounded.dtype == torch.float32
    half = resize_pos_embed(pos.half(), (4, 4), (7, 5), 1)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.double(), exact, rtol=1e-2, atol=5e-3)


def test_positions_of_a_wrong_grid_are_refused():
    with pytest.raises(ValueError, match="97 positions are not 1 prefix tokens and a grid of 8×8"):
        resize_pos_embed(torch.zeros(1, 97, 2), (8, 8), (4, 4), 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"out_indices": 4}, ValueError, "4 blocks, got 4"),
        ({"out_indices": ()}, ValueError, "4 blocks"),
        ({"out_indices": "last"}, TypeError, "got 'last'"),
        (
            {"frozen_stages": 5},
            ValueError,
            "frozen_stages must be at least -1 and at most 4, got 5",
        ),
        ({"frozen_stages": "every"}, ValueError, "frozen_stages must be one of 'all', got 'every'"),
        ({"num_mixing_layers": 9}, ValueError, "at most 4, got 9"),
        ({"map_tokens": "crop"}, ValueError, "map_tokens must be one of 'img_size', got 'crop'"),
        ({"num_layers": 0}, ValueError, "num_layers must be at least 1"),
        ({"num_register_tokens": -1}, ValueError, "num_register_tokens must be at least 0"),
        ({"drop_path_mode": "cosine"}, ValueError, "drop_path_mode must be one of 'linear'"),
        ({"mix_init": "zeros"}, ValueError, "mix_init must be one of .*'identity', got 'zeros'"),
        ({"stem": "cnn"}, ValueError, "stem must be one of 'linear', 'conv', got 'cnn'"),
        ({"interpolate_mode": "area"}, ValueError, "interpolate_mode"),
        ({"stem": "conv", "patch_size": 7}, ValueError, "even"),
        (
            {"drop_path_rate": 1.0},
            ValueError,
            "drop_path_rate must .* below 1, got 1",
        ),
        ({"img_size": 0}, ValueError, "img_size must be one or two positive integers, got 0"),
        ({"with_pos_embed": False}, ValueError, "without positions; set rope"),
        ({"rope": "pe"}, ValueError, "multiple of 4 channels, got 6; set num_heads"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        small(**arguments)


def test_layer_scale_scales_each_branch():
    model = small(layer_scale_init=0.5, final_norm=False, mix_norm_cfg=None).eval()
    block, x = model.blocks[0], torch.randn(2, 17, 24)
    middle = x + 0.5 * block.attn(block.norm1(x))
    torch.testing.assert_close(block(x), middle + 0.5 * block.mlp(block.norm2(middle)))
    assert {n for n, _ in model.named_parameters() if n.startswith("blocks.3.ls")} == {
        "blocks.3.ls1.gamma",
        "blocks.3.ls2.gamma",
    }


@pytest.mark.parametrize("with_cls_token", [True, False])
def test_register_tokens_are_seen_and_not_returned(with_cls_token):
    model = small(num_register_tokens=3, with_cls_token=with_cls_token).eval()
    images = torch.randn(2, 3, 32, 24)
    (before,) = model(images)
    assert before.shape == (2, 24, 4, 3)
    assert model.forward_features(images).shape == (2, with_cls_token + 3 + 12, 24)
    with torch.no_grad():
        model.reg_token.normal_()  # LayerNorm would take a constant away
    assert not torch.allclose(model(images)[0], before)
    model.train()(images)[0].sum().backward()
    assert model.reg_token.grad.abs().sum() > 0


def test_features_are_those_of_the_last_map():
    model = small().eval()
    images = torch.randn(2, 3, 32, 24)
    patches = model.forward_features(images)[:, model.num_prefix_tokens :]
    assert torch.equal(patches, model(images)[0].flatten(2).transpose(1, 2))


def test_drop_path_grows_or_is_constant():
    def rates(mode):
        model = small(drop_path_rate=0.3, drop_path_mode=mode)
        return [getattr(block.drop_path, "drop_prob", 0.0) for block in model.blocks]

    assert rates("linear") == pytest.approx([0, 0.1, 0.2, 0.3])
    assert rates("constant") == [0.3] * 4


@pytest.mark.parametrize("how", ["uniform", "trunc_normal", "identity"])
def test_how_mixes_start(how):
    mix = small(mix_init=how, pre_mix=True).blocks[1].attn.pre_mix
    assert torch.equal(mix.weight, torch.eye(4)) == (how == "identity")
    assert (mix.bias == 0).all() == (how != "uniform")
    if how != "identity":
        assert (mix.weight.abs().max() < 0.1) == (how == "trunc_normal")
