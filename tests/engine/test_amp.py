"""Mixed precision: every backbone and loss stays finite, and comes to terms with NaN and Inf."""

import pytest
import torch
from mmengine.runner import Runner

from mmseg_deepvit.engine.checks.finite import find_not_finite

from ..diversity.cases import NAMED, make_config
from ..diversity.test_training import Pictures, _no_hub_left  # noqa: F401
from .resuming import losses, read_last, without_formatting
from .test_finite_check_hook import Spoil

#: DeepViT, DiversePatchViT and CaiT on the same four blocks; Swin on its four stages.
SYSTEMS = {
    "deepvit": ("ours", {}),
    "diversepatch": ("ours", dict(type="DiversePatchViT", arch="diversepatch-t", num_heads=4)),
    "cait": ("ours", dict(type="CaiT", arch="cait-xxs24")),
    "swin": ("swin", {}),
}
LOSSES = {"decode.loss_ce", "decode.loss_dice", "aux.loss_ce"}
DIVERSITY = {f"diversity.loss_{name}" for name in ("cosine", "contrastive", "mixing")}
DTYPES = ("float16", "bfloat16")


def model_config(system, variant):
    kind, backbone = SYSTEMS[system]
    early, last = NAMED[kind]
    diversity = dict(
        early=early, last=last, variant=variant, warmup_iters=10, patch_mix=dict(patch_size=8)
    )
    options = dict(head="uper", auxiliary=True, diversity=diversity)
    cfg = make_config(kind, **options, **backbone)
    dice = dict(type="DiceLoss", use_sigmoid=False, loss_name="loss_dice")
    cfg["decode_head"]["loss_decode"] = [dict(type="CrossEntropyLoss"), dice]
    cfg["data_preprocessor"] = dict(type="SegDataPreProcessor", size=(64, 64))
    return cfg


def train(work_dir, system, dtype, iterations, spoil):
    wrapper = "AmpOptimWrapper" if torch.cuda.is_available() else "CPUAmpOptimWrapper"
    variant = "paper" if dtype == "float16" else "published_code"
    runner = Runner(
        model=model_config(system, variant),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Pictures(),
            batch_size=2,
            num_workers=0,
            sampler=dict(type="InfiniteSampler"),
            collate_fn=dict(type="pseudo_collate"),
        ),
        train_cfg=dict(type="ResumableTrainLoop", max_iters=iterations),
        optim_wrapper=dict(
            type=wrapper,
            dtype=dtype,
            optimizer=dict(type="AdamW", lr=1e-3),
            clip_grad=dict(max_norm=1.0),
        ),
        default_hooks=dict(
            checkpoint=dict(type="AtomicCheckpointHook", by_epoch=False, interval=iterations),
            finite_check=dict(type="FiniteCheckHook"),
        ),
        default_scope="mmseg",
        experiment_name=work_dir.name,
        log_level="ERROR",
        randomness=dict(seed=0),
    )
    for value, where in spoil.items():
        runner.register_hook(Spoil("backbone.patch_embed", where, value))
    with without_formatting():
        runner.train()
    return read_last(work_dir)


def check(work_dir, system, dtype, iterations):
    """Trains with a NaN and an Inf after the images; the two steps are skipped."""
    spoil = {float("nan"): [11], float("inf"): [21]}
    content = train(work_dir, system, dtype, iterations, spoil)
    parts = [content["state_dict"], content["optimizer"]]
    assert find_not_finite(parts) is None
    history = losses(content)
    assert set(history) == {f"train/{name}" for name in ("loss", *LOSSES, *DIVERSITY)}
    bad = [i + 1 for i, value in enumerate(history["train/loss"]) if not abs(value) < 1e9]
    assert bad == [11, 21]
    values = history["train/decode.loss_ce"]
    assert sum(values[-5:]) < sum(values[:5])
    scaler = content["optimizer"]["loss_scaler"]
    # Two steps were skipped for us; others, if any, for gradients beyond fp16's range.
    assert scaler["scale"] >= 2**4
    assert content["meta"]["iter"] == iterations


CASES = [
    pytest.param(
        system,
        dtype,
        iterations,
        id=f"{system}-{dtype}-{iterations}",
        marks=[pytest.mark.slow] * (iterations > 40),
    )
    for i, system in enumerate(SYSTEMS)
    for dtype, iterations in [(DTYPES[i % 2], 40), (DTYPES[0], 400), (DTYPES[1], 400)]
]


@pytest.mark.parametrize(("system", "dtype", "iterations"), CASES)
def test_stays_finite(system, dtype, iterations, tmp_path):
    check(tmp_path, system, dtype, iterations)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_stays_finite_on_a_gpu(system, dtype, tmp_path):
    torch.cuda.reset_peak_memory_stats()
    check(tmp_path, system, dtype, 400)
    assert torch.cuda.max_memory_allocated() > 0
