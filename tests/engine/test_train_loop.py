"""Interrupted and resumed is the same, bit for bit, as never interrupted."""

import re

import pytest
from mmengine.config import Config

from mmseg_deepvit.engine.resuming import continuation, train_loop

from .resuming import (  # noqa: F401
    DIVERSE,
    EMA,
    assert_same_training,
    demo_data,
    make_runner,
    read_last,
    train,
    without_formatting,
)
from .tiny import Numbers, train_tiny

WORKERS = {"train_dataloader.num_workers": 2, "train_dataloader.persistent_workers": True}
ONE_WORKER = {"train_dataloader.num_workers": 1, "train_dataloader.prefetch_factor": 3}
#: What a run has, and what else it is resumed with, which must not matter.
RUNS = {
    "plain": ({}, {}),
    "workers": ({}, WORKERS),
    "one worker, not persistent": ({}, ONE_WORKER),
    "no validation": ({}, {"train_cfg.val_interval": 100}),
    "diverse": (DIVERSE, {}),
    "diverse, average, workers": ({**DIVERSE, **EMA}, WORKERS),
    "another sampler": ({"train_dataloader.sampler.type": "DefaultSampler"}, ONE_WORKER),
}
SLOW = ("one worker, not persistent", "no validation", "diverse", "another sampler")


@pytest.fixture(autouse=True)
def _quick():
    with without_formatting():
        yield


@pytest.mark.parametrize(
    ("options", "others"),
    [pytest.param(*RUNS[k], id=k, marks=[pytest.mark.slow] * (k in SLOW)) for k in RUNS],
)
def test_resumed_is_uninterrupted(options, others, tmp_path, demo_data):  # noqa: F811
    """Killed in iteration 6, after the checkpoint of 3 and validation at 4, and again in 9."""
    whole = train(tmp_path / "whole", demo_data, **options)
    options = {**options, **others}
    train(tmp_path / "run", demo_data, kill=6, **options)
    train(tmp_path / "run", demo_data, kill=9, resume=True, **options)
    resumed = train(tmp_path / "run", demo_data, resume=True, **options)
    assert_same_training(whole, resumed)
    assert ("ema_state_dict" in whole) == ("custom_hooks" in options)


@pytest.mark.parametrize("randomness", [dict(seed=None), dict(seed=None, diff_rank_seed=True)])
def test_a_seed_that_was_drawn_is_kept(randomness, tmp_path, demo_data):  # noqa: F811
    options = {"randomness": randomness, "train_cfg.max_iters": 6}
    whole = train(tmp_path, demo_data, **options)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_3.pth"))
    assert_same_training(whole, train(tmp_path, demo_data, resume=True, **options))


def test_accumulated_gradients_are_not_lost(tmp_path, demo_data):  # noqa: F811
    """A checkpoint due amid an accumulation waits for the optimiser's step."""
    options = {"optim_wrapper.accumulative_counts": 4}
    whole = train(tmp_path / "whole", demo_data, **options)
    assert {p.stem for p in (tmp_path / "whole").glob("iter*")} == {"iter_4", "iter_8", "iter_10"}
    train(tmp_path / "run", demo_data, kill=8, **options)
    assert_same_training(whole, train(tmp_path / "run", demo_data, resume=True, **options))


@pytest.mark.parametrize("dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_the_loss_scale_goes_on(dtype, tmp_path, demo_data):  # noqa: F811
    """Grown at 3, 6 and 9, with one iteration in hand when it is killed."""
    scale = dict(init_scale=8.0, growth_interval=3)
    amp = dict(type="CPUAmpOptimWrapper", dtype=dtype, loss_scale=scale)
    options = {f"optim_wrapper.{key}": value for key, value in amp.items()}
    options["default_hooks.checkpoint.interval"] = 4
    whole = train(tmp_path / "whole", demo_data, **options)
    train(tmp_path / "run", demo_data, kill=6, **options)
    state = read_last(tmp_path / "run")["optimizer"]["loss_scaler"]
    assert (state["scale"], state["_growth_tracker"]) == (16, 1)
    resumed = train(tmp_path / "run", demo_data, resume=True, **options)
    assert_same_training(whole, resumed)
    assert resumed["optimizer"]["loss_scaler"]["scale"] == 64


def test_a_validation_that_was_cut_off_is_made_up_for(tmp_path, demo_data):  # noqa: F811
    options = {"train_cfg.max_iters": 4, "default_hooks.checkpoint.interval": 2}
    train(tmp_path, demo_data, kill=4, in_validation=True, **options)
    assert not list(tmp_path.glob("best_*"))
    train(tmp_path, demo_data, resume=True, **options)
    assert [path.name for path in tmp_path.glob("best_*")] == ["best_mIoU_iter_4.pth"]


def test_a_loader_that_cannot_be_resumed_is_refused(tmp_path, demo_data):  # noqa: F811
    batches = dict(type="BatchSampler", drop_last=True)
    runner = make_runner(tmp_path, demo_data, **{"train_dataloader.batch_sampler": batches})
    with pytest.raises(TypeError, match=r"without a batch_sampler: set train_cfg\.type="):
        _ = runner.train_loop


PLATEAU = dict(type="ReduceOnPlateauLR", monitor="mIoU", rule="greater", factor=0.5, patience=0)


@pytest.mark.parametrize("stop", range(1, 6))
def test_a_validation_does_not_count_twice(stop, tmp_path):
    """A checkpoint saved again for the best score, and one saved before its validation."""
    options = dict(scores=dict(mIoU=[0.3, 0.4, 0.2, 0.5, 0.1, 0.6]), param_scheduler=[PLATEAU])
    whole = train_tiny(tmp_path / "whole", 6, **options)
    train_tiny(tmp_path / "run", stop, **options)
    resumed = train_tiny(tmp_path / "run", 6, **options, resume=True)
    assert_same_training(whole, resumed)
    assert whole["optimizer"]["param_groups"][0]["lr"] == 0.01 / 4


@pytest.mark.parametrize(("before", "after"), [(2, 4), (6, 2), (4, 4)])
def test_another_batch_size_skips_nothing(before, after, tmp_path, monkeypatch):
    """Each of 24 images is drawn once in two runs of an epoch, and the change is told."""
    said, data = [], Numbers(24, loaded=[])
    monkeypatch.setattr(train_loop, "print_log", lambda text, *arguments: said.append(text))
    steps = 12 // before
    train_tiny(tmp_path, steps, batch_size=before, data=data)
    assert len(data.loaded) == 12
    train_tiny(tmp_path, steps + 1, batch_size=after, data=data, resume=True)
    train_tiny(tmp_path, steps + 12 // after, batch_size=after, data=data, resume=True)
    assert sorted(data.loaded) == list(range(24))
    assert [f"was {before} images and is {after}:" in text for text in said] == [True] * (
        before != after
    )


POLY = dict(type="PolyLR", power=1.0, begin=0, eta_min=0.0, by_epoch=False)


@pytest.mark.parametrize(
    ("end", "iterations", "message"),
    [
        (2, 4, r"ended at iteration 2, and the rate stays 0: .* load_from=CHECKPOINT"),
        (2, 2, None),
        (4, 4, None),
        (1000, 4, None),
    ],
)
def test_what_is_said_of_a_schedule(end, iterations, message, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(continuation, "print_log", lambda text, *arguments: said.append(text))
    train_tiny(tmp_path, 2, param_scheduler=[dict(POLY, end=end)])
    schedule = [dict(POLY, end=end)]
    train_tiny(tmp_path, iterations, param_scheduler=schedule, resume=True)
    assert len(said) == (message is not None)
    assert not said or re.search(message, said[0])


def test_a_longer_schedule_is_not_taken(tmp_path, monkeypatch):
    """mmengine goes on with the checkpoint's."""
    said = []
    monkeypatch.setattr(continuation, "print_log", lambda text, *arguments: said.append(text))
    train_tiny(tmp_path, 2, param_scheduler=[dict(POLY, end=4)])
    longer = dict(param_scheduler=[dict(POLY, end=8)])
    train_tiny(tmp_path, 4, **longer, cfg=Config(longer), resume=True)
    assert "ends at iteration 4, as in the checkpoint and not as in the config" in said[0]
