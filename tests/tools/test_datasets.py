"""Each data set under each head: trained, tested, tested with augmentation, on real images."""

import json
from pathlib import Path

import pytest

from ..conftest import ROOT
from .conftest import run_tool

SIDE = "(64,64)"
COMMON = [
    "model.backbone.num_layers=4",
    "model.backbone.img_size=64",
    f"model.data_preprocessor.size={SIDE}",
    *(f"{part}_dataloader.num_workers=0" for part in ("train", "val", "test")),
    *(f"{part}_dataloader.persistent_workers=False" for part in ("train", "val", "test")),
    "train_dataloader.batch_size=2",
    "train_cfg.max_iters=2",
    "train_cfg.val_interval=2",
    "default_hooks.checkpoint.interval=2",
    *(f"{part}_dataloader.dataset.indices=3" for part in ("val", "test")),
]
HEADS = {
    "upernet": ["model.backbone.out_indices=(0,1,2,3)", "model.decode_head.channels=16"],
    "linear": [],
    "probe": [],
}
SLIDING = [f"model.test_cfg.crop_size={SIDE}", "model.test_cfg.stride=(48,48)"]
RATIOS = [f"tta_pipeline.1.transforms.0.{i}.scale_factor={0.05 + i / 200}" for i in range(6)]
#: The folder in data/, and what makes its pipelines small.
DATA = {
    "ade20k": (
        "ade",
        [
            *SLIDING,
            *RATIOS,
            "train_dataloader.dataset.pipeline.2.scale=(256,64)",
            f"train_dataloader.dataset.pipeline.3.crop_size={SIDE}",
            "val_dataloader.dataset.pipeline.1.scale=(256,64)",
            "test_dataloader.dataset.pipeline.1.scale=(256,64)",
        ],
        "mIoU",
    ),
    "cityscapes": (
        "cityscapes",
        [
            *SLIDING,
            *RATIOS,
            "train_dataloader.dataset.pipeline.2.scale=(192,96)",
            f"train_dataloader.dataset.pipeline.3.crop_size={SIDE}",
            "val_dataloader.dataset.pipeline.1.scale=(192,96)",
            "test_dataloader.dataset.pipeline.1.scale=(192,96)",
        ],
        "mIoU",
    ),
    "camvid": (
        "camvid",
        [
            *SLIDING,
            *RATIOS,
            "train_dataloader.dataset.pipeline.2.scale=(96,72)",
            f"train_dataloader.dataset.pipeline.3.crop_size={SIDE}",
            "val_dataloader.dataset.pipeline.1.scale=(96,72)",
            "test_dataloader.dataset.pipeline.1.scale=(96,72)",
            "default_hooks.checkpoint.save_best=mIoU",
        ],
        "mIoU",
    ),
    "isic2018": (
        "isic2018",
        [
            f"train_dataloader.dataset.pipeline.2.scale={SIDE}",
            f"train_dataloader.dataset.pipeline.4.scale={SIDE}",
            f"train_dataloader.dataset.pipeline.5.crop_size={SIDE}",
            f"val_dataloader.dataset.pipeline.1.scale={SIDE}",
            f"test_dataloader.dataset.pipeline.1.scale={SIDE}",
            f"tta_pipeline.1.transforms.0.0.scale={SIDE}",
        ],
        "per_image/Dice",
    ),
}
CONFIGS = [
    "linear_diversepatch-b_ade20k",
    "upernet_deepvit-32b_cityscapes",
    "linear_cait-xxs24_cityscapes",
    "upernet_cait-xxs24_isic2018",
    "linear_deepvit_isic2018",
    "probe_vit-ti_camvid",
]


@pytest.mark.parametrize("config", CONFIGS)
def test_trains_tests_and_augments(config, tmp_path):
    head, _, name = config.split("_")
    folder, small, metric = DATA[name]
    if not (ROOT / "data" / folder).is_dir():
        pytest.skip(f"no images in data/{folder}")
    options = [*COMMON, *HEADS[head], *small]
    if "cait" in config or "-ti_" in config:
        options.append("model.backbone.init_cfg=None")
    if "_deepvit_" in config:  # deepvit-s mixes in its last five blocks
        options.append("model.backbone.num_mixing_layers=2")
    path = f"configs/{config}.py"
    command = ("tools/train.py", path, "--work-dir", tmp_path, "--cfg-options")
    result = run_tool(*command, *options)
    assert result.returncode == 0, result.stderr[-3000:]
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    trained = [json.loads(line) for line in log.read_text().splitlines() if metric in line]
    checkpoint = Path((tmp_path / "last_checkpoint").read_text().strip())
    assert list(tmp_path.glob(f"best_{metric.replace('/', '_')}_iter_2.pth"))

    scores = {}
    for flag in ((), ("--tta",)):
        work_dir = tmp_path / f"test{''.join(flag)}"
        command = ("tools/test.py", path, checkpoint, "--work-dir", work_dir, *flag)
        result = run_tool(*command, "--cfg-options", *options)
        assert result.returncode == 0, result.stderr[-3000:]
        (file,) = work_dir.glob("*/*.json")
        scores[flag] = json.loads(file.read_text())[metric]
    assert scores[()] == pytest.approx(trained[-1][metric], abs=0.02)
    assert 0 <= scores["--tta",] <= 100
