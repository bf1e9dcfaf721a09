"""What all tests share: seeds, and the real images, where there are any."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]

if not torch.cuda.is_available():
    # Triton reads it when it first sees a kernel.
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def ade_root():
    """ADE20K's folder; the tests that need it skip where it is missing."""
    root = ROOT / "data" / "ade" / "ADEChallengeData2016"
    if not root.is_dir():
        pytest.skip(f"no ADE20K images in {root.relative_to(ROOT)}")
    return root


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
