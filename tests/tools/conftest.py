"""Running the tools as a user does: real processes, real files."""

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_deepvit.command_line import load_config

from ..conftest import ADE, ROOT
from ..datasets.published import write_isic

#: Where the data of ADE20K's configs is.
ADE_ROOTS = [f"{part}_dataloader.dataset.data_root={ADE}" for part in ("train", "val", "test")]
#: A run of two iterations on images of 64².
SMALL_RUN = [
    *ADE_ROOTS,
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


def run_here(tool, *arguments):
    """As :func:`run_tool`, in this process: for what ends before it has done much."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", [tool, *map(str, arguments)])
        try:
            runpy.run_path(str(ROOT / tool), run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


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
    """Two iterations of the ADE20K config, shrunk, on the pairs of ``ade_root``."""
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


#: A model of two narrow blocks on images of 32².
TINY = f"""
_base_ = ["{ROOT}/configs/upernet_deepvit-w128-d6_isic2018-128x128.py"]
model = dict(
    data_preprocessor=dict(size=(32, 32)),
    backbone=dict(
        num_layers=2, num_mixing_layers=1, embed_dims=16, num_heads=2, img_size=(32, 32),
        out_indices=(0, 0, 1, 1),
    ),
    neck=dict(embed_dim=16),
    decode_head=dict(in_channels=[16] * 4, channels=8),
    auxiliary_head=dict(in_channels=16, channels=8),
)
"""


def tiny_options(root):
    """Options for a run of one iteration on the images in a folder."""
    options = ["train_cfg.max_iters=1", "train_cfg.val_interval=1", "train_dataloader.batch_size=2"]
    for part in ("train", "val", "test"):
        loader = f"{part}_dataloader"
        options += [f"{loader}.dataset.data_root={root}", f"{loader}.num_workers=0"]
        options += [f"{loader}.persistent_workers=False"]
    return options


@pytest.fixture(scope="session")
def there(tmp_path_factory):
    """What is needed for the tools to work, and what they cannot use."""
    folder = tmp_path_factory.mktemp("there")
    root = folder / "isic"
    for part in ("Training", "Validation"):
        write_isic(root, 4, part, (64, 64))
    cfg = folder / "tiny.py"
    cfg.write_text(TINY)
    model = MODELS.build(load_config(str(cfg)).model)
    state = model.state_dict()
    meta = {"dataset_meta": {"classes": ("background", "lesion"), "palette": [[0] * 3, [9] * 3]}}
    torch.save({"state_dict": state, "meta": meta}, folder / "model.pth")
    ragged = {"dataset_meta": {**meta["dataset_meta"], "palette": [[0, 0, 0], [9, 9]]}}
    torch.save({"state_dict": state, "meta": ragged}, folder / "ragged.pth")
    state = {k: torch.full_like(v, torch.nan) if "qkv" in k else v for k, v in state.items()}
    torch.save({"state_dict": state, "meta": meta}, folder / "nan.pth")
    (folder / "file").write_text("text")
    (folder / "junk.onnx").write_bytes(b"junk")
    return SimpleNamespace(
        cfg=cfg,
        ck=folder / "model.pth",
        nan=folder / "nan.pth",
        ragged=folder / "ragged.pth",
        file=folder / "file",
        folder=folder,
        root=root,
        out=folder / "out",
        img=root / "ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg",
    )
