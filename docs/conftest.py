"""Runs the Python code of the pages in order, where `make demo` has been as far as it matters."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

from mmseg_deepvit.datasets.demo import write_demo_dataset

ROOT = Path(__file__).parents[1]
_LINKED = ("configs", "tools", "results")


@pytest.fixture(scope="session")
def trained_demo(tmp_path_factory):
    """Make a folder as a checkout after `make demo`, with two iterations in place of 600."""
    root = tmp_path_factory.mktemp("docs")
    for name in _LINKED:
        (root / name).symlink_to(ROOT / name)
    demo = root / "work_dirs" / "demo"
    write_demo_dataset(demo / "data", num_train=16, num_val=4)
    command = [
        *(sys.executable, "tools/train.py", "configs/upernet_deepvit_demo.py"),
        *("--work-dir", demo / "run", "--cfg-options", "train_cfg.max_iters=2"),
        *("train_cfg.val_interval=2", "train_dataloader.batch_size=2"),
        *("default_hooks.checkpoint.interval=2",),
        *(f"{part}_dataloader.dataset.data_root={demo}/data" for part in ("train", "val", "test")),
    ]
    subprocess.run([str(word) for word in command], cwd=root, check=True, capture_output=True)
    (demo / "run" / "iter_2.pth").rename(demo / "run" / "iter_600.pth")
    images = demo / "data" / "ISIC2018_Task1-2_Validation_Input"
    shutil.copy(sorted(images.glob("*.jpg"))[0], root / "photo.jpg")
    return root


@pytest.fixture(scope="module")
def in_demo(trained_demo):
    """Let the code of a page run in that folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained_demo)
        yield


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["index.md", "start.md", "guides/*.md", "reference/*.md"],
    fixtures=["in_demo"],
).pytest()
