"""Fixtures of all tests: seeds, and images, which are generated if no real ones exist."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from .datasets.published import write_ade

ROOT = Path(__file__).parents[1]
_REAL_ADE = ROOT / "data" / "ade" / "ADEChallengeData2016"
#: Folder of ADE20K, or of generated images in its layout.
ADE = (
    _REAL_ADE if _REAL_ADE.is_dir() else Path(tempfile.gettempdir()) / f"made-up-ade-{os.getuid()}"
)

if not torch.cuda.is_available():
    # Triton reads the variable when it first sees a kernel.
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def ade_root():
    """Return the folder of ADE20K; generate one if it does not exist."""
    if not ADE.is_dir():
        folder = Path(tempfile.mkdtemp(dir=ADE.parent))
        write_ade(folder)
        try:
            folder.rename(ADE)
        except OSError:  # another process made it first
            shutil.rmtree(folder)
    return ADE


def pytest_collection_modifyitems(items):
    """Skip tests that need a GPU on machines without one."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
