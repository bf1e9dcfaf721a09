import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS

from mmseg_deepvit.attention import observe_maps
from mmseg_deepvit.diversity import (
    DiverseEncoderDecoder,
    PatchMix,
    patch_class_mix,
    patch_contrastive_loss,
    patch_cosine_loss,
    patch_mixing_loss,
    saturation,
)

from .cases import CLASSES, INDEXED, NAMED, ZERO, make_batch, make_config, make_segmentor, run

NAMES = ["diversity.loss_cosine", "diversity.loss_contrastive", "diversity.loss_mixing"]
HEADS = [
    ("ours", dict(head="linear")),
    ("ours", dict(head="uper", neck=True, auxiliary=True)),
    ("vit", dict(head="linear", auxiliary=True)),
    ("vit", dict(head="uper", neck=True)),
    ("swin", dict(head="uper", auxiliary=True)),
    ("swin", dict(head="linear")),
]
SOURCES = [
    *((kind, *sources, options) for kind, options in HEADS for sources in [NAMED[kind]]),
    *((kind, *INDEXED[kind], options) for kind, options in HEADS if kind in INDEXED),
    ("swin", "stages.3.blocks.0", -1, dict(head="uper")),
    ("ours", "patch_embed", -1, dict(head="linear")),
]


@pytest.fixture(autouse=True)
def no_runner():
    """Remove the message hubs of earlier runners."""
    MessageHub._instance_dict.clear()
    yield
    MessageHub._instance_dict.clear()


def tokens_by_hand(segmentor, source, inputs):
    """Read patch tokens and grid by a hook of the test."""
    caught = []
    outputs = None
    if isinstance(source, int):
        outputs = segmentor.backbone(inputs)
        maps = outputs[source]
        return maps.flatten(2).transpose(1, 2), tuple(maps.shape[2:])
    module = segmentor.backbone.get_submodule(source)
    handle = module.register_forward_hook(lambda m, args, output: caught.append(output))
    outputs = segmentor.backbone(inputs)
    handle.remove()
    tokens = caught[0][0] if isinstance(caught[0], tuple) else caught[0]
    height, width = inputs.shape[2:]
    strides = {"stages.2": 16, "stages.3": 32}
    stride = strides.get(source[:8], 8)
    grid = (-(-height // stride), -(-width // stride))
    assert tokens.shape[1] - grid[0] * grid[1] in (0, 1)  # a class token comes first
    return tokens[:, tokens.shape[1] - grid[0] * grid[1] :], grid


@pytest.mark.parametrize("size", [(64, 64), (70, 100)], ids=str)
@pytest.mark.parametrize("variant", ["paper", "published_code"])
@pytest.mark.parametrize(("kind", "early", "last", "options"), SOURCES)
def test_adds_the_losses_of_the_named_tokens(kind, early, last, options, variant, size):
    diversity = dict(
        early=early, last=last, cosine=0.5, contrastive=2.0, mixing=0.25, variant=variant
    )
    plain = make_segmentor(kind, **options)
    segmentor = make_segmentor(kind, **options, diversity=diversity)
    segmentor.load_state_dict(plain.state_dict(), strict=False)
    inputs, samples = make_batch(size)
    for module in (plain, segmentor):
        module.train()
    expected = dict(plain.loss(inputs, samples))

    tokens, grid = tokens_by_hand(segmentor, last, inputs)
    early_tokens, _ = tokens_by_hand(segmentor, early, inputs)
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in samples])
    stride = 8 if kind != "swin" else 32 if "3" in str(early) else 16
    mix = patch_class_mix(labels, grid, CLASSES, 255, (stride, stride))
    expected[NAMES[0]] = 0.5 * patch_cosine_loss(tokens)
    expected[NAMES[1]] = 2 * patch_contrastive_loss(early_tokens, tokens, variant, grid)
    expected[NAMES[2]] = 0.25 * patch_mixing_loss(segmentor.patch_head(tokens), mix)

    losses = segmentor.loss(inputs, samples)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, msg=lambda m, name=name: f"{name}: {m}")
    assert not any(m._forward_hooks for m in segmentor.modules())

    logged, gradients = run(segmentor, inputs, samples)
    assert set(NAMES) <= set(logged)
    unused = {name for name, gradient in gradients.items() if gradient is None}
    assert unused == {name for name, grad in run(plain, inputs, samples)[1].items() if grad is None}


@pytest.mark.parametrize(("kind", "options"), HEADS)
def test_zero_weights_are_the_plain_segmentor_bit_for_bit(kind, options):
    rates = dict(drop_path_rate=0.3, drop_rate=0.1)  # so that random numbers are drawn
    results = []
    for diversity in (None, ZERO):
        segmentor = make_segmentor(kind, **options, **rates, diversity=diversity)
        assert type(segmentor) is (EncoderDecoder if diversity is None else DiverseEncoderDecoder)
        state = {name: value.clone() for name, value in segmentor.state_dict().items()}
        torch.manual_seed(5)
        logged, gradients = run(segmentor, *make_batch())
        results.append((state, dict(logged), gradients, torch.get_rng_state()))
        segmentor.eval()
        prediction = segmentor(make_batch()[0], mode="tensor")
        results[-1] += (prediction, dict(segmentor.named_buffers()))
    for plain, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=0)
    assert list(results[0][0]) == list(results[1][0])


@pytest.mark.parametrize("weights", [{}, dict(mixing=0), dict(contrastive=0), dict(cosine=0)])
def test_a_weight_of_zero_drops_its_loss(weights):
    segmentor = make_segmentor("ours", diversity=weights)
    losses = segmentor.loss(*make_batch())
    dropped = [f"diversity.loss_{name}" for name in weights]
    assert [n for n in losses if n.startswith("div")] == [n for n in NAMES if n not in dropped]
    assert ("patch_head.weight" in segmentor.state_dict()) == ("mixing" not in weights)


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_prediction_is_untouched(mode):
    plain = make_segmentor("ours", head="uper", neck=True)
    diversity = dict(patch_mix=dict(patch_size=8), warmup_iters=3)
    ours = make_segmentor("ours", head="uper", neck=True, diversity=diversity)
    ours.load_state_dict(plain.state_dict(), strict=False)
    inputs, samples = make_batch()
    predictions = []
    for segmentor in (plain.eval(), ours.eval()):
        segmentor.test_cfg = MODELS.build(dict(type="EncoderDecoder", **_parts(mode))).test_cfg
        torch.manual_seed(0)
        with torch.no_grad():
            logits = segmentor(inputs, mode="tensor")
            results = segmentor(inputs, samples, mode="predict")
        predictions.append((logits, [r.seg_logits.data for r in results], torch.get_rng_state()))
    torch.testing.assert_close(*predictions, rtol=0, atol=0)


def _parts(mode):
    cfg = make_config("ours")
    test_cfg = ConfigDict(mode=mode, crop_size=(32, 32), stride=(24, 24))
    return dict(backbone=cfg["backbone"], decode_head=cfg["decode_head"], test_cfg=test_cfg)


@pytest.mark.parametrize(
    ("kind", "early", "last"),
    [
        ("ours", "blocks.0", "blocks.3"),
        ("ours", 0, -1),
        ("ours", "blocks.0", "blocks.3.mlp"),  # inside a block that is recomputed
        ("vit", "layers.0", "layers.3"),
        ("vit", "layers.0.ffn", -1),
        ("swin", "stages.2.blocks.0", "stages.2.blocks.1"),
    ],
)
def test_gradients_are_the_same_with_recomputation(kind, early, last):
    inputs, samples = make_batch()
    results = []
    for with_cp in (False, True):
        diversity = dict(early=early, last=last, heads=float(kind == "ours"))
        segmentor = make_segmentor(kind, with_cp=with_cp, diversity=diversity)
        logged, gradients = run(segmentor, inputs, samples)
        assert all(g is None or g.isfinite().all() for g in gradients.values())
        results.append((dict(logged), gradients))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("kind", "options"), HEADS)
def test_under_autocast(kind, options, dtype):
    early, last = NAMED[kind]
    segmentor = make_segmentor(kind, **options, diversity=dict(early=early, last=last))
    inputs, samples = make_batch()
    exact = segmentor.loss(inputs, samples)
    with torch.autocast("cpu", dtype):
        losses = segmentor.loss(inputs, samples)
    for name in NAMES:
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(losses[name], exact[name], rtol=0.05, atol=1e-3)
    segmentor.parse_losses(losses)[0].backward()
    for name, parameter in segmentor.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    assert segmentor.patch_head.weight.grad.abs().sum() > 0


def test_the_cosine_of_heads_is_of_the_first_blocks_maps():
    """Only the forward pass updates the maps' running statistics."""
    plain = make_segmentor("ours", num_mixing_layers=4)
    segmentor = make_segmentor("ours", num_mixing_layers=4, diversity=dict(ZERO, heads=0.5))
    batch = make_batch()
    maps = []
    with observe_maps(maps.append):
        expected = dict(plain.loss(*batch))
    cosines = [torch.cosine_similarity(maps[i].mixed, maps[i + 1].mixed) for i in range(2)]
    expected["diversity.loss_heads"] = 0.5 * torch.stack(cosines).mean()
    torch.testing.assert_close(segmentor.loss(*batch), expected)
    torch.testing.assert_close(dict(segmentor.named_buffers()), dict(plain.named_buffers()))


@pytest.mark.parametrize(
    ("kind", "diversity", "told"),
    [
        ("mit", dict(early="layers.3.1.0", last="layers.3.1.1"), 1),
        ("mit", dict(early="layers.3.1.0", last="layers.3.1.1", variant="cosine"), 0),
        ("swin", dict(early=NAMED["swin"][0], last=NAMED["swin"][1], contrastive=2.0), 0),
    ],
)
def test_a_saturated_contrastive_loss_is_told_once(kind, diversity, told, monkeypatch):
    lines = []
    monkeypatch.setattr(saturation, "print_log", lambda line, *_: lines.append(line))
    monkeypatch.setattr(saturation, "INTERVAL", 2)
    segmentor = make_segmentor(kind, diversity=diversity)
    for norm in segmentor.backbone.modules():
        if kind == "mit" and isinstance(norm, torch.nn.LayerNorm):
            torch.nn.init.constant_(norm.weight, 4.0)  # as trained ones: tokens of great length
    for _ in range(4):
        segmentor.loss(*make_batch())
    assert len(lines) == told
    assert all("has no effect" in s and "set diversity.variant='cosine'" in s for s in lines)


def test_patch_mix_reaches_heads_and_targets():
    """A batch of one plain and one constant image: labels everywhere follow the images."""
    diversity = dict(cosine=0, contrastive=0, patch_mix=dict(patch_size=8))
    segmentor = make_segmentor("ours", diversity=diversity)
    seen = {}
    segmentor.backbone.register_forward_pre_hook(lambda m, args: seen.update(inputs=args[0]))
    decode_loss = segmentor.decode_head.loss
    segmentor.decode_head.loss = lambda x, samples, cfg: (
        seen.update(samples=samples) or decode_loss(x, samples, cfg)
    )
    inputs, samples = make_batch()
    torch.manual_seed(2)
    losses = segmentor.loss(inputs, samples)
    torch.manual_seed(2)
    expected, expected_samples = PatchMix(8)(inputs, samples)
    assert not torch.equal(expected, inputs)
    assert torch.equal(seen["inputs"], expected)
    labels = torch.stack([s.gt_sem_seg.data[0] for s in expected_samples])
    for got, want in zip(seen["samples"], labels, strict=True):
        assert torch.equal(got.gt_sem_seg.data[0], want)
    logits = segmentor.patch_head(tokens_by_hand(segmentor, -1, expected)[0])
    mixing = patch_mixing_loss(logits, patch_class_mix(labels, (8, 8), CLASSES))
    torch.testing.assert_close(losses["diversity.loss_mixing"], mixing)


def test_targets_lie_on_the_backbones_own_patches():
    diversity = dict(cosine=0, contrastive=0)
    segmentor = make_segmentor("ours", patch_size=14, diversity=diversity)
    inputs, samples = make_batch((100, 100))  # 8×8 patches, which might also be of 13 pixels
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in samples])
    logits = segmentor.patch_head(tokens_by_hand(segmentor, -1, inputs)[0])
    mix = patch_class_mix(labels, (8, 8), CLASSES, patch_size=(14, 14))
    losses = segmentor.loss(inputs, samples)
    torch.testing.assert_close(losses["diversity.loss_mixing"], patch_mixing_loss(logits, mix))


def test_patch_mix_alone_trains_a_plain_segmentor_on_mixes():
    segmentor = make_segmentor("ours", diversity=dict(ZERO, patch_mix=dict(patch_size=8)))
    plain = make_segmentor("ours")
    inputs, samples = make_batch()
    torch.manual_seed(2)
    losses = segmentor.loss(inputs, samples)
    torch.manual_seed(2)
    torch.testing.assert_close(losses, plain.loss(*PatchMix(8)(inputs, samples)), rtol=0, atol=0)
    unmixed = segmentor.eval().loss(inputs, samples)  # only training mixes
    torch.testing.assert_close(unmixed, plain.eval().loss(inputs, samples), rtol=0, atol=0)


def test_wholly_ignored_batches_give_the_head_a_gradient_of_zero():
    segmentor = make_segmentor("ours", diversity={})
    inputs, samples = make_batch()
    for sample in samples:
        sample.gt_sem_seg.data.fill_(255)
    logged, _ = run(segmentor, inputs, samples)
    assert logged["diversity.loss_mixing"] == 0
    assert not segmentor.patch_head.weight.grad.any()


def test_warmup_follows_the_runners_iteration():
    segmentor = make_segmentor("ours", diversity=dict(warmup_iters=10))
    batch = make_batch()
    full = segmentor.loss(*batch)  # no runner
    hub = MessageHub.get_instance("runner")
    for iteration, factor in [(0, 0.0), (1, 0.1), (5, 0.5), (10, 1.0), (500, 1.0)]:
        hub.update_info("iter", iteration)
        logged, gradients = run(segmentor, *batch)
        for name in NAMES:
            torch.testing.assert_close(logged[name], factor * full[name].detach())
        head = gradients["patch_head.weight"]
        assert bool(head.any()) == (factor > 0)
        torch.testing.assert_close(
            logged["decode.loss_ce"], full["decode.loss_ce"].detach(), rtol=0, atol=0
        )
