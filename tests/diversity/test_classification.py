"""timm's training step with the published losses, against the formulas in float64."""

import pytest
import timm
import torch
from timm.loss import (
    BinaryCrossEntropy,
    JsdCrossEntropy,
    LabelSmoothingCrossEntropy,
    SoftTargetCrossEntropy,
)

import mmseg_deepvit.timm_models  # noqa: F401  (registers the models)
from mmseg_deepvit.attention import observe_maps
from mmseg_deepvit.diversity import PatchMix
from mmseg_deepvit.diversity.classification import (
    ClassifierDiversity,
    DiverseClassificationTask,
    mix_batch,
)
from mmseg_deepvit.diversity.patch_mix import PUBLISHED
from mmseg_deepvit.errors import UserError

from . import reference

CLASSES = 5


def make_model(name="diversepatch_t", **options):
    torch.manual_seed(0)
    small = dict(img_size=(40, 32), patch_size=8, num_layers=3, num_classes=CLASSES)
    return timm.create_model(name, **{**small, **options})


def make_task(model, criterion=None, **weights):
    kind = DiverseClassificationTask.with_diversity(ClassifierDiversity(**weights))
    return kind(model=model, criterion=criterion or LabelSmoothingCrossEntropy(0.1), verbose=False)


def make_batch(soft=False, batch=4):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch, 3, 40, 32, dtype=torch.float64, generator=generator)
    if soft:
        targets = torch.rand(batch, CLASSES, dtype=torch.float64, generator=generator)
        return images, targets / targets.sum(1, keepdim=True)
    return images, torch.randint(0, CLASSES, (batch,), generator=generator)


def gradients(loss, model):
    return torch.autograd.grad(loss, list(model.parameters()))


@pytest.mark.parametrize(
    ("soft", "criterion"),
    [
        (False, LabelSmoothingCrossEntropy(0.1)),
        (False, torch.nn.CrossEntropyLoss(label_smoothing=0.1)),
        (True, SoftTargetCrossEntropy()),
    ],
)
def test_a_step_is_the_published_one(soft, criterion):
    model = make_model(patch_head=True).double()
    images, targets = make_batch(soft)
    torch.manual_seed(3)
    result = make_task(model, criterion)(images, targets)

    torch.manual_seed(3)
    mixed, partners, regions = mix_batch(PatchMix(8, **PUBLISHED), images)
    if not soft:
        targets = 0.9 * torch.nn.functional.one_hot(targets, CLASSES).double() + 0.1 / CLASSES
    parts = [targets, targets[partners]]
    shares = regions.double().mean(1)
    assert 0 < shares[1] < 1
    tokens = model.forward_features(mixed)
    early, grid = model.patch_embed(mixed)
    terms = {
        "loss_contrastive": reference.contrastive(early, tokens[:, 1:], grid),
        "loss_mixing": reference.region_mixing(tokens[:, 1:], regions, parts, model.patch_head),
    }
    logits = model.head(tokens[:, 0])
    mixed_targets = shares[0] * parts[0] + shares[1] * parts[1]
    classified = -(mixed_targets * logits.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(result["output"], logits)
    for name, value in terms.items():
        torch.testing.assert_close(result[name], value)
    expected = classified + sum(terms.values())
    torch.testing.assert_close(result["loss"], expected)
    torch.testing.assert_close(gradients(result["loss"], model), gradients(expected, model))


def test_the_rectangle_is_anothers_for_all_images():
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(-1, 3, 40, 32)
    torch.manual_seed(0)
    mixed, partners, (outside, inside) = mix_batch(PatchMix(8, **PUBLISHED), images)
    patches = mixed[:, 0, ::8, ::8].flatten(1)
    assert outside.any()
    assert torch.equal(outside, ~inside)
    assert (patches[:, outside] == torch.arange(6.0)[:, None]).all()
    assert (patches[:, inside] == partners[:, None]).all()


def test_deepvits_recipe_mixes_nothing_and_adds_the_cosine_of_heads():
    model = make_model("deepvit_32b", num_layers=4)
    images, targets = make_batch()
    task = make_task(model, mixing=0, contrastive=0, heads=0.1)
    result = task(images.float(), targets)
    maps = []
    with observe_maps(maps.append):
        logits = model(images.float())
    cosines = [torch.cosine_similarity(maps[i].mixed, maps[i + 1].mixed) for i in range(2)]
    expected = {"output": logits, "loss_heads": 0.1 * torch.stack(cosines).mean()}
    expected["loss"] = task.criterion(logits, targets) + expected["loss_heads"]
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-6)


def test_autocast_dropout_and_recomputation():
    model = make_model(patch_head=True, drop_rate=0.2)
    model.set_grad_checkpointing()
    images, targets = make_batch()
    task = make_task(model, cosine=1, heads=1)
    with torch.autocast("cpu", torch.bfloat16):
        result = task(images.float(), targets)
    assert result["loss_mixing"].dtype == torch.float32
    assert all(g.isfinite().all() and g.any() for g in gradients(result["loss"], model))


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (
            JsdCrossEntropy(),
            "linear in the target and JsdCrossEntropy is not; leave out --jsd-loss",
        ),
        (BinaryCrossEntropy(target_threshold=0.2), "target and BinaryCrossEntropy is not"),
    ],
)
def test_a_criterion_that_cannot_be_mixed_is_refused(criterion, message):
    with pytest.raises(UserError, match=message):
        make_task(make_model(patch_head=True), criterion)


def test_models_and_settings_that_are_refused():
    with pytest.raises(UserError, match=r"no patch_head .*; add --model-kwargs patch_head=True"):
        make_task(make_model())
    with pytest.raises(UserError, match="Identity is no model of mmseg_deepvit"):
        make_task(torch.nn.Identity())
    with pytest.raises(ValueError, match=r"mixing is a weight .* got -1"):
        make_task(make_model(), mixing=-1)
    with pytest.raises(ValueError, match=r"has 3 attention layers .* compares 4"):
        make_task(make_model(), mixing=0, heads=1, head_pairs=3)
    with pytest.raises(UserError, match="--torchcompile breaks the hooks"):
        make_task(make_model(), mixing=0).compile()
