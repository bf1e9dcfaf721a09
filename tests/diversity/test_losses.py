from math import exp, log, sqrt

import pytest
import torch
from mmseg.registry import MODELS
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_deepvit.diversity import (
    DiversityLoss,
    patch_contrastive_loss,
    patch_cosine_loss,
    patch_mixing_loss,
    pool_regions,
    region_mixing_loss,
)

from . import reference

GRIDS = [(1, 2), (1, 9), (3, 5), (9, 8)]  # the last reaches beyond 7×7
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}


class Watch(TorchDispatchMode):
    """Record the size of the largest new tensor and the called operators."""

    def __init__(self):
        super().__init__()
        self.largest = 0
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls.append(func.overloadpacket.__name__)
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes() > 0:
                elements = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.largest = max(self.largest, elements)
        return out


def random_mix(batch, tokens, classes, ignored=1):
    targets = torch.rand(batch, tokens, classes, dtype=torch.float64)
    targets[:, :ignored] = 0
    return targets / targets.sum(-1, keepdim=True).clamp(min=1e-9)


def calls(grid, channels=6, batch=2, dtype=torch.float64, scale=1.0):
    """Each loss by name: our function, the reference, and the input that gets a gradient."""
    tokens = grid[0] * grid[1]
    early, last, logits = (
        (scale * torch.randn(batch, tokens, channels)).to(dtype) for _ in range(3)
    )
    targets = random_mix(batch, tokens, channels)

    def contrastive(ours, theirs):
        return (
            lambda x: patch_contrastive_loss(early, x, **ours),
            lambda x: reference.contrastive(early, x, **theirs),
            last,
        )

    mixing = (lambda x: patch_mixing_loss(x, targets), lambda x: reference.mixing(x, targets))
    tempered = dict(temperature=0.3)
    return {
        "cosine": (patch_cosine_loss, reference.cosine, last),
        "contrastive": contrastive({}, {}),
        "published": contrastive(dict(variant="published_code", grid=grid), dict(grid=grid)),
        "tempered": contrastive(dict(variant="cosine", **tempered), tempered),
        "mixing": (*mixing, logits),
    }


LOSSES = ["cosine", "contrastive", "published", "tempered", "mixing"]


def test_cosine_by_hand():
    # cos = 0, 1/√2, −1/√2 for the three pairs; signs and lengths do not count.
    tokens = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [3.0, -3.0]]])
    torch.testing.assert_close(patch_cosine_loss(tokens), torch.tensor(2 / 3 * sqrt(0.5)))
    same = torch.tensor([[[1.0, 2.0], [-2.0, -4.0]]])
    torch.testing.assert_close(patch_cosine_loss(same), torch.tensor(1.0))
    both = torch.cat([tokens[:, :2], same])  # the mean over images
    torch.testing.assert_close(patch_cosine_loss(both), torch.tensor(0.5))


def test_contrastive_by_hand():
    early = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    last = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [2.0, 1.0]]])
    # a·b of the patch itself: 2, 3, 3; of the others' mean: (0 + 2)/2, (0 + 1)/2, (2 + 3)/2.
    pairs = [(2, 1), (3, 0.5), (3, 2.5)]
    expected = sum(-log(exp(p) / (exp(p) + exp(n))) for p, n in pairs) / 3
    torch.testing.assert_close(patch_contrastive_loss(early, last), torch.tensor(expected))


def test_published_contrastive_by_hand():
    early = torch.ones(1, 6, 1)
    last = torch.tensor([0.1, 0.2, 0.4, 0.8, 1.6, 3.2]).view(1, 6, 1)
    # In a row of six patches the ends see three others, the next four, the middle ones all five;
    # zeros fill up to 48.
    locals_ = [1.4 / 48, 2.9 / 48, 5.9 / 48, 5.5 / 48, 4.6 / 48, 2.8 / 48]
    total = 0.0
    for b, local in zip(last.flatten().tolist(), locals_, strict=True):
        negatives = exp((6.3 - b) / 5) + exp(local)
        total -= log(exp(b) / (exp(b) + negatives) + 1e-8) / 6
    ours = patch_contrastive_loss(early, last, "published_code", (1, 6))
    torch.testing.assert_close(ours, torch.tensor(total))


def test_the_published_contrastive_loss_is_capped():
    early, last = torch.tensor([[[1.0], [1.0]]]), torch.tensor([[[0.0], [1e4]]], requires_grad=True)
    loss = patch_contrastive_loss(early, last, "published_code", (1, 2))
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(-log(1e-8) / 2))  # and 0 for the other
    assert last.grad.isfinite().all()


@pytest.mark.parametrize("length", [0.1, 1e3])
def test_unit_vectors_do_not_saturate(length):
    tokens = length * torch.randn(2, 64, 32)
    tokens.requires_grad_()
    early = tokens.detach() + length * torch.randn(2, 64, 32)
    losses = {v: patch_contrastive_loss(early, tokens, v) for v in ("paper", "cosine")}
    assert (losses["paper"] < 1e-4) == (length > 1)
    grad = torch.autograd.grad(losses["cosine"], tokens)[0]
    assert losses["cosine"] > 1e-3
    assert grad.norm() * length > 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_region_mixing_equals_the_reference(dtype):
    regions = torch.zeros(3, 12, dtype=torch.bool)
    regions[0, :5] = regions[1, 5:] = True  # and an empty one
    targets = random_mix(3, 2, 5, ignored=0)
    targets[0, :, 1] = 0
    head = torch.randn(5, 6, dtype=torch.float64)
    tokens = torch.randn(2, 12, 6).to(dtype)
    x, y = tokens.clone().requires_grad_(), tokens.double().requires_grad_()
    pooled = pool_regions(x, regions)
    logits = pooled @ head.to(pooled.dtype).t()
    actual = region_mixing_loss(logits, targets, regions.double().mean(1))
    expected = reference.region_mixing(y, regions, targets, lambda pooled: head @ pooled)
    tolerance = max(TOLERANCE[dtype], 1e-9)
    torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance)
    actual.backward()
    expected.backward()
    assert (x.grad.double() - y.grad).norm() / y.grad.norm() <= tolerance


def test_mixing_by_hand():
    logits = torch.tensor([[[0.0, log(3.0)], [5.0, -5.0], [0.0, 0.0]]])
    targets = torch.tensor([[[0.25, 0.75], [0.0, 0.0], [1.0, 0.0]]])  # the second is ignored
    expected = (0.25 * log(4) + 0.75 * log(4 / 3) + log(2)) / 2
    torch.testing.assert_close(patch_mixing_loss(logits, targets), torch.tensor(expected))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_reference(name, grid, dtype):
    ours, theirs, x = calls(grid, dtype=dtype)[name]
    x, y = x.clone().requires_grad_(), x.double().requires_grad_()
    actual, expected = ours(x), theirs(y)
    assert actual.dtype == torch.promote_types(dtype, torch.float32)
    # Half inputs are computed in fp32; only their gradient is rounded to half.
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(actual.double(), expected, rtol=min(tolerance, 2e-5), atol=0)
    actual.backward()
    expected.backward()
    assert x.grad.dtype == dtype
    error = (x.grad.double() - y.grad).norm() / y.grad.norm()
    assert error <= tolerance


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name):
    ours, _, x = calls((3, 4), channels=5)[name]
    assert torch.autograd.gradcheck(ours, x.clone().requires_grad_())


@pytest.mark.parametrize("rows", [1, 5, 36, 37, 100])
def test_cosine_in_blocks_of_any_size(rows):
    tokens = torch.randn(3, 37, 8, dtype=torch.float64, requires_grad=True)
    ours = patch_cosine_loss(tokens, block_rows=rows)
    theirs = reference.cosine(tokens)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    grads = [torch.autograd.grad(loss, tokens)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["cosine", "contrastive", "published", "tempered"])
def test_16k_tokens_never_make_a_square(name):
    grid, channels = (128, 128), 8
    ours, _, x = calls(grid, channels, batch=1, dtype=torch.float32)[name]
    x.requires_grad_()
    with Watch() as watch:
        ours(x).backward()
    assert x.grad.isfinite().all()
    assert watch.largest >= x.numel()
    assert watch.largest <= 16384 * 16384 // 64


def test_no_gradient_work_where_none_is_asked():
    tokens = torch.randn(2, 20, 4, requires_grad=True)
    with Watch() as watch:
        patch_cosine_loss(tokens)
    assert "sign_" in watch.calls
    with Watch() as watch, torch.no_grad():
        without = patch_cosine_loss(tokens)
    assert "sign_" not in watch.calls
    with Watch() as watch:
        patch_cosine_loss(tokens.detach())
    assert "sign_" not in watch.calls
    torch.testing.assert_close(without, patch_cosine_loss(tokens))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_nothing(name, dtype):
    ours, _, x = calls((4, 5), dtype=torch.float32)[name]
    results = []
    for enabled in (False, True):
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype, enabled=enabled):
            loss = ours(leaf)
        loss.backward()
        results.append((loss.detach(), leaf.grad))
    assert results[0][0].dtype == torch.float32
    for plain, cast in zip(*results, strict=True):
        assert torch.equal(plain, cast)


@pytest.mark.gpu
@pytest.mark.parametrize("name", LOSSES)
def test_under_fp16_autocast_on_a_gpu(name):
    torch.set_default_device("cuda")
    try:
        ours, theirs, x = calls((9, 8), dtype=torch.float16)[name]
        x.requires_grad_()
        with torch.autocast("cuda", torch.float16):
            loss = ours(x)
        loss.backward()
    finally:
        torch.set_default_device(None)
    assert x.grad.isfinite().all()
    if name == "mixing":
        torch.testing.assert_close(loss.double(), theirs(x.detach()), rtol=2e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", LOSSES)
def test_large_values_stay_finite(name, dtype):
    ours, _, x = calls((4, 5), dtype=dtype)[name]
    x = (x.sign() * 1e4).requires_grad_()
    loss = ours(x)
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()


def test_large_values_are_right():
    early, last = torch.tensor([[[1e4], [1e4]]]), torch.tensor([[[1e4], [-1e4]]])
    # Positive 1e8 and negative −1e8 for the first patch, the reverse for the second.
    torch.testing.assert_close(patch_contrastive_loss(early, last), torch.tensor(1e8))


def test_zero_vectors_have_a_finite_gradient():
    tokens = torch.randn(1, 6, 4)
    tokens[0, 2:4] = 0
    tokens.requires_grad_()
    loss = patch_cosine_loss(tokens)
    loss.backward()
    assert tokens.grad.isfinite().all()
    kept = tokens.detach()[:, [0, 1, 4, 5]]  # zeros add pairs of similarity zero
    torch.testing.assert_close(loss.detach(), reference.cosine(kept).float() * 12 / 30)


@pytest.mark.parametrize("name", ["cosine", "contrastive", "published", "tempered"])
def test_a_single_token_has_no_others(name):
    ours, _, x = calls((1, 1), dtype=torch.float32)[name]
    x.requires_grad_()
    loss = ours(x)
    loss.backward()
    assert loss == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_tokens_of_a_map_need_no_copy():
    maps = torch.randn(2, 8, 3, 5, dtype=torch.float64, requires_grad=True)
    tokens = maps.flatten(2).transpose(1, 2)
    ours, theirs = patch_cosine_loss(tokens), reference.cosine(tokens)
    grads = [torch.autograd.grad(loss, maps, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*grads)


def test_no_gradient_flows_into_early_tokens():
    early, last = (torch.randn(1, 4, 3, requires_grad=True) for _ in range(2))
    patch_contrastive_loss(early, last).backward()
    assert early.grad is None
    assert last.grad.abs().sum() > 0


def test_all_patches_ignored_give_zero_and_a_gradient():
    logits = torch.randn(2, 4, 3, requires_grad=True)
    loss = patch_mixing_loss(logits, torch.zeros(2, 4, 3))
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_the_module_weighs_and_names():
    early, last, logits = (torch.randn(2, 6, 4) for _ in range(3))
    targets = random_mix(2, 6, 4)
    settings = dict(cosine=0.5, contrastive=2, variant="published_code")
    module = MODELS.build(dict(type="DiversityLoss", **settings))
    assert isinstance(module, DiversityLoss)
    losses = module(last, early, logits, targets, (2, 3))
    expected = {
        "loss_cosine": 0.5 * patch_cosine_loss(last),
        "loss_contrastive": 2 * patch_contrastive_loss(early, last, "published_code", (2, 3)),
        "loss_mixing": patch_mixing_loss(logits, targets),
    }
    torch.testing.assert_close(losses, expected, rtol=0, atol=0)
    mixing = DiversityLoss(cosine=0, contrastive=0)(last, None, logits, targets)
    assert list(mixing) == ["loss_mixing"]
    assert DiversityLoss(0, 0, 0)(last) == {}


TOKENS = torch.randn(2, 6, 4)


def contrast(*arguments, early=TOKENS, **settings):
    return lambda: patch_contrastive_loss(early, TOKENS, *arguments, **settings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patch_cosine_loss(TOKENS[0]), r"tokens must be of shape .*got \(6, 4\)"),
        (lambda: patch_cosine_loss(TOKENS[:0]), r"tokens must be of shape .*got \(0, 6, 4\)"),
        (lambda: patch_cosine_loss(TOKENS, 0), "block_rows must be at least 1, got 0"),
        (contrast(early=TOKENS[..., :3]), r"equal shapes, got \(2, 6, 3\) and \(2, 6, 4\)"),
        (contrast("code"), "published_code, cosine, got 'co"),
        (contrast("cosine", temperature=0), "temperature must be a number above 0, got 0"),
        (contrast("published_code"), "needs the grid .* of the 6 tokens, got None"),
        (contrast("published_code", (2, 2)), r"of the 6 tokens, got \(2, 2\)"),
        (
            lambda: patch_mixing_loss(TOKENS, TOKENS[:, :5]),
            r"targets .* \(2, 6, 4\), got \(2, 5, 4\)",
        ),
        (lambda: DiversityLoss(cosine=-1), "cosine is a weight .* got -1"),
        (lambda: DiversityLoss(mixing=float("nan")), "mixing is a weight .* got nan"),
        (lambda: DiversityLoss(mixing=None), "mixing is a weight .* got None"),
        (lambda: DiversityLoss(temperature=None), "temperature must be .* got None"),
        (lambda: DiversityLoss(0, 0, 0, heads=1)(), "heads term needs attention layers"),
        (
            lambda: region_mixing_loss(TOKENS, TOKENS, torch.ones(3)),
            r"got \(2, 6, 4\), \(2, 6, 4\) and \(3,\)",
        ),
        (lambda: DiversityLoss(variant="x"), "variant must be one of paper.* got 'x'"),
        (lambda: DiversityLoss(mixing=0)(TOKENS), "contrastive term needs early tokens"),
        (lambda: DiversityLoss(contrastive=0)(TOKENS), "mixing term needs logits and targets"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
