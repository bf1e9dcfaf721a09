"""Each system, shrunk, through tools/train.py on real images, then through tools/test.py."""

import json
import re
from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from .conftest import SMALL, SMALL_RUN, assert_one_line, run_tool

WITHOUT_WEIGHTS = "model.backbone.init_cfg=None"
LOSSES = {f"diversity.loss_{name}" for name in ("cosine", "contrastive", "mixing")}
SYSTEMS = {
    "upernet_cait-xxs24_ade20k": ([*SMALL, WITHOUT_WEIGHTS], set()),
    "upernet_diversepatch-b_ade20k": (
        [*SMALL, "model.diversity.warmup_iters=0", "model.diversity.patch_mix.prob=1.0"],
        LOSSES,
    ),
    "upernet_diverse-swin-l_ade20k": (
        [
            *("model.backbone.embed_dims=24", "model.backbone.depths=(1,1,2,1)"),
            *("model.backbone.num_heads=(1,2,4,8)", "model.backbone.window_size=4"),
            "model.decode_head.in_channels=(24,48,96,192)",
            "model.auxiliary_head.in_channels=96",
            "model.diversity.last=stages.2.blocks.1",
            *SMALL_RUN,
        ],
        LOSSES,
    ),
}


def train_and_test(config, options, folder):
    """The training's records by name, and the scores of its checkpoint."""
    command = (f"configs/{config}.py", "--work-dir", folder / "train", "--cfg-options", *options)
    result = run_tool("tools/train.py", *command)
    assert result.returncode == 0, result.stderr[-3000:]
    (log,) = folder.glob("train/*/vis_data/scalars.json")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    checkpoint = Path((folder / "train/last_checkpoint").read_text().strip())
    command = (f"configs/{config}.py", checkpoint, "--work-dir", folder / "test", "--cfg-options")
    tested = run_tool("tools/test.py", *command, *options)
    assert tested.returncode == 0, tested.stderr[-3000:]
    (scores,) = folder.glob("test/*/*.json")
    return records, json.loads(scores.read_text()), result.stdout + result.stderr


@pytest.mark.parametrize("config", SYSTEMS)
def test_trains_and_tests(ade_root, tmp_path, config):
    options, losses = SYSTEMS[config]
    records, scores, _ = train_and_test(config, options, tmp_path)
    steps = [record for record in records if "loss" in record]
    assert len(steps) == 2
    for step in steps:
        named = {name for name in step if name.startswith("diversity.")}
        assert named == losses
        parts = [step[name] for name in step if "loss_" in name]
        assert sum(parts) == pytest.approx(step["loss"], rel=1e-4)
    assert scores["mIoU"] == pytest.approx(records[-1]["mIoU"], abs=0.02)


def test_warm_start(ade_root, tmp_path):
    """From a plain transformer of timm: told, calibrated, trained, tested."""
    plain = VisionTransformer(
        **{"img_size": 70, "patch_size": 14, "embed_dim": 384, "depth": 4, "num_heads": 6},
        **{"reg_tokens": 4, "no_embed_class": True, "init_values": 1e-5, "num_classes": 0},
    )
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    options = [
        *SMALL,
        f"model.backbone.init_cfg.checkpoint={tmp_path / 'plain.pth'}",
        "custom_hooks.0.num_images=3",
        "model.backbone.img_size=70",
    ]
    _, _, log = train_and_test("upernet_deepvit-dinov2-s_ade20k", options, tmp_path)
    assert re.search(r"Loaded \d+ tensors from \S+plain.pth", log)
    assert "Begins unmixed: blocks.*.attn.post_mix.weight (2)" in log
    assert "2 norms of attention maps saw no data" in log
    assert "Calibrated 2 norms of attention maps" in log


def test_weights_that_are_not_here(tmp_path, monkeypatch):
    """Without a network: one line that says what to fetch and where to put it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    command = ("configs/upernet_cait-xxs24_ade20k.py", "--work-dir", tmp_path, "--cfg-options")
    result = run_tool("tools/train.py", *command, *SMALL)
    assert_one_line(
        result,
        "timm://cait_xxs24_384.fb_dist_in1k is not on this machine",
        "https://huggingface.co/timm/cait_xxs24_384.fb_dist_in1k/resolve/main/model.safetensors",
        str(tmp_path / "hub/checkpoints/cait_xxs24_384.fb_dist_in1k.safetensors"),
    )
