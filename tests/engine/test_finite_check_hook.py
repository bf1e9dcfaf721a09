"""NaN and Inf in images, layers, weights and gradients of whole trainings."""

import pytest
import torch
from mmengine.hooks import Hook
from torch import nn

from mmseg_deepvit.engine import FiniteCheckHook, find_whole_checkpoint
from mmseg_deepvit.engine.checks.finite import find_layer, find_not_finite, is_finite
from mmseg_deepvit.errors import UserError

from .resuming import (  # noqa: F401
    EMA,
    demo_data,
    differences,
    make_runner,
    read_last,
    train,
    without_formatting,
)

AMP = {
    "optim_wrapper.type": "CPUAmpOptimWrapper",
    "optim_wrapper.loss_scale": dict(init_scale=64.0, growth_interval=100),
}


@pytest.fixture(autouse=True)
def _quick():
    with without_formatting():
        yield


class Spoil(Hook):
    """Makes something not finite in some iterations."""

    priority = "VERY_HIGH"

    def __init__(self, where, iterations, value=float("nan")):
        self.where, self.iterations, self.value = where, iterations, value

    def before_train(self, runner):
        self.now = False
        if self.where not in ("image", "weight", "momentum"):
            runner.model.get_submodule(self.where).register_forward_hook(self.spoil)

    def spoil(self, module, args, output):
        if self.now and isinstance(output, tuple):  # tokens and their grid
            return (self.spoil(module, args, output[0]), *output[1:])
        if self.now:
            output = output.clone(memory_format=torch.contiguous_format)
            output.flatten()[3] = self.value
        return output

    def before_train_iter(self, runner, batch_idx, data_batch):
        self.now = runner.iter + 1 in self.iterations
        if self.now and self.where == "image":
            data_batch["inputs"][1] = data_batch["inputs"][1].float()
            data_batch["inputs"][1][0, 2, 3] = self.value

    def after_train_iter(self, runner, *args, **kwargs):
        if self.now and self.where == "weight":
            runner.model.backbone.pos_embed.data[0, 1, 2] = self.value
        if self.now and self.where == "momentum":
            state = next(iter(runner.optim_wrapper.optimizer.state.values()))
            state["exp_avg"].flatten()[0] = self.value


def spoiled(tmp_path, data, where, iterations, value=float("nan"), **options):
    runner = make_runner(tmp_path, data, **{"train_cfg.val_interval": 100, **options})
    runner.register_hook(Spoil(where, iterations, value))
    return runner


def fails(runner, match):
    with pytest.raises(UserError, match=match) as caught:
        runner.train()
    return str(caught.value)


def assert_saved(work_dir, iteration):
    """The last good checkpoint is the last one."""
    content = read_last(work_dir)
    assert content["meta"]["iter"] == iteration
    assert find_whole_checkpoint(work_dir) == str(work_dir / f"iter_{iteration}.pth")
    assert find_not_finite([content["state_dict"], content["optimizer"]]) is None


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_an_image(value, tmp_path, demo_data):  # noqa: F811
    runner = spoiled(tmp_path, demo_data, "image", [5], value)
    fails(runner, r"^\S+ISIC_\d+\.jpg holds NaN or Inf after the transforms: correct the file")
    assert_saved(tmp_path, 3)
    assert find_not_finite(runner.model.state_dict()) is None


@pytest.mark.parametrize(
    ("where", "value"),
    [("backbone.blocks.2.mlp", float("inf")), ("decode_head.fpn_bottleneck.conv", float("nan"))],
)
def test_a_layer(where, value, tmp_path, demo_data):  # noqa: F811
    runner = spoiled(tmp_path, demo_data, where, [5], value)
    message = fails(runner, r"^iteration 5: decode\.loss_ce is nan")
    kind = type(runner.model.get_submodule(where)).__name__
    assert f"first layer whose output is not finite is {where} ({kind}): lower the" in message
    assert message.count(".jpg") == 2
    assert_saved(tmp_path, 3)
    assert all(is_finite(parameter) for parameter in runner.model.parameters())


def test_the_preprocessor(tmp_path, demo_data):  # noqa: F811
    std = {"model.data_preprocessor.std": [0.0, 1.0, 1.0]}
    fails(make_runner(tmp_path, demo_data, **std), "images after data_preprocessor: look at its m")


def test_weights_of_the_step_before(tmp_path, demo_data):  # noqa: F811
    runner = spoiled(tmp_path, demo_data, "weight", [4])
    fails(runner, r"iteration 5: .* the last step made backbone\.pos_embed not finite: lower")
    assert_saved(tmp_path, 3)


@pytest.mark.parametrize(
    ("where", "named"),
    [("weight", r"state_dict\.backbone\.pos_embed"), ("momentum", r"optimizer\.state\.0\.exp_avg")],
)
def test_is_not_saved(where, named, tmp_path, demo_data):  # noqa: F811
    keep_one = {"default_hooks.checkpoint.max_keep_ckpts": 1}
    fails(spoiled(tmp_path, demo_data, where, [6], **keep_one), f"not saved, for {named} is not f")
    assert_saved(tmp_path, 3)


class Statistics(Hook):
    """Whether running statistics were poisoned in an iteration, and weights before and after."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.iteration:
            self.before = {k: v.clone() for k, v in runner.model.state_dict().items()}
            runner.model.register_forward_hook(self.look)

    def look(self, model, *args):
        if not hasattr(self, "poisoned"):
            self.poisoned = find_not_finite(model.state_dict())

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.iteration:
            self.after = {k: v.clone() for k, v in runner.model.state_dict().items()}


@pytest.mark.parametrize(("dtype", "with_cp"), [("float16", False), ("bfloat16", True)])
def test_a_skipped_step_changes_nothing(dtype, with_cp, tmp_path, demo_data):  # noqa: F811
    """The scaler skips it, and BatchNorm's running statistics are as before; the maps' too."""
    options = {**AMP, **EMA, "optim_wrapper.dtype": dtype, "model.backbone.with_cp": with_cp}
    runner = spoiled(tmp_path, demo_data, "backbone.blocks.2.attn.qkv", [5], **options)
    statistics = Statistics(5)
    runner.register_hook(statistics, "LOWEST")
    runner.train()
    assert statistics.poisoned.startswith("backbone.blocks.2.attn.mix_norm.running_")
    assert differences(statistics.before, statistics.after) == []
    content = read_last(tmp_path)
    assert content["meta"]["iter"] == 10
    assert content["optimizer"]["loss_scaler"]["scale"] == 32
    parts = [content[part] for part in ("state_dict", "ema_state_dict", "optimizer")]
    assert find_not_finite(parts) is None
    assert differences(statistics.after, runner.model.state_dict()) != []


def test_too_many_skipped_steps_end_it(tmp_path, demo_data):  # noqa: F811
    options = {**AMP, "default_hooks.finite_check.max_skipped": 3}
    runner = spoiled(tmp_path, demo_data, "backbone.blocks.2.mlp", [2, 3, 5, 6, 7, 8], **options)
    fails(runner, r"^iteration 8: .* first layer .* is backbone\.blocks\.2\.mlp \(Mlp\)")
    assert_saved(tmp_path, 6)


def test_training_is_not_changed(tmp_path, demo_data):  # noqa: F811
    runner = make_runner(tmp_path, demo_data)
    runner._hooks = [hook for hook in runner.hooks if not isinstance(hook, FiniteCheckHook)]
    runner.train()
    checked = train(tmp_path / "checked", demo_data)
    assert differences(checked["state_dict"], read_last(tmp_path)["state_dict"]) == []


def test_what_is_finite():
    assert is_finite(torch.tensor([]))
    assert is_finite(torch.tensor([1, 2]))
    assert is_finite(torch.full((3,), 6e4, dtype=torch.float16))  # its sum is not
    for value in ("nan", "inf", "-inf"):
        spoiled = torch.tensor([0.0, float(value), 1.0])
        assert not is_finite(spoiled)
        assert find_not_finite({"a": [torch.ones(1), {"b": spoiled}]}, "x") == "x.a.1.b"
    assert find_not_finite({"a": (torch.ones(2), 3, None, "nan", float("nan"))}) is None
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 2)))
    assert find_layer(model, lambda: model(torch.ones(2))) is None
    model[1][1].weight.data[0] = float("inf")
    assert find_layer(model, lambda: model(torch.ones(2))) == "1.1 (Linear)"
    assert not model[0]._forward_hooks
