"""Running the tools as a user does: real processes, real files."""

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ..conftest import ROOT

#: A run of two iterations on images of 64².
SMALL_RUN = [
    "model.data_preprocessor.size=(64,64)",
    "model.decode_head.channels=16",
    "train_dataloader.num_workers=0",
    "train_dataloader.persistent_workers=False",
    "val_dataloader.num_workers=0",
    "val_dataloader.persistent_workers=False",
    "test_dataloader.num_workers=0",
    "test_dataloader.persistent_workers=False",
    "train_dataloader.dataset.pipeline.2.scale=(256,64)",
    "train_dataloader.dataset.pipeline.3.crop_size=(64,64)",
    "val_dataloader.dataset.pipeline.1.scale=(256,64)",
    "test_dataloader.dataset.pipeline.1.scale=(256,64)",
    "test_pipeline.1.scale=(256,64)",
    "default_hooks.logger.interval=1",
    "default_hooks.checkpoint.interval=1",
    "train_cfg.max_iters=2",
    "train_cfg.val_interval=2",
    "randomness.seed=0",
]
#: With four blocks of a vision transformer.
SMALL = [
    "model.backbone.num_layers=4",
    "model.backbone.num_mixing_layers=2",
    "model.backbone.out_indices=(0,1,2,3)",
    "model.backbone.img_size=64",
    "model.test_cfg.crop_size=(64,64)",
    "model.test_cfg.stride=(64,64)",
    *SMALL_RUN,
]
MIM = Path(sys.executable).with_name("mim")
CONFIG = "configs/upernet_deepvit_ade20k.py"


def run_tool(*command, timeout=300):
    """Run a command in the repository; what it printed comes back, whatever it exits with."""
    first, *rest = map(str, command)
    argv = [sys.executable, first, *rest] if first.endswith(".py") else [first, *rest]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


def call_tool(monkeypatch, tool, *args):
    """Run a tool in this process, where many calls need not start many times."""
    monkeypatch.setattr(sys, "argv", [tool, *map(str, args)])
    return runpy.run_path(str(ROOT / tool))["main"]()


def assert_one_line(result, *parts):
    """The tool refused with status 2 and one line on stderr that holds the parts."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    assert len(errors) == 1
    for part in parts:
        assert part in errors[0], errors[0]


@pytest.fixture(scope="session")
def trained(ade_root, tmp_path_factory):
    """Two iterations of the ADE20K config, shrunk, on the real pairs in data/ade."""
    work_dir = tmp_path_factory.mktemp("trained")
    result = run_tool("tools/train.py", CONFIG, "--work-dir", work_dir, "--cfg-options", *SMALL)
    assert result.returncode == 0, result.stderr[-3000:]
    checkpoint = Path((work_dir / "last_checkpoint").read_text().strip())
    return SimpleNamespace(
        work_dir=work_dir,
        checkpoint=checkpoint,
        result=result,
        images=ade_root / "images/validation",
    )
