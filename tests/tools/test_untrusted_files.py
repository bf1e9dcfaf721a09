"""Every way in which a tool reads a checkpoint: no code of a file runs."""

import shutil
import sys
from pathlib import Path

import mmseg
import pytest
import torch

from mmseg_deepvit.checkpoints import TRUST_VARIABLE
from mmseg_deepvit.errors import CheckpointError

from ..checkpoints.attacks import touch
from .conftest import CONFIG, ROOT, SMALL, assert_one_line, call_tool, run_tool

REFUSED = ("not plain data (eval)", "would run code from the file", TRUST_VARIABLE)


@pytest.fixture
def poisoned(trained, tmp_path):
    """A full checkpoint of a run, with code next to the weights that makes a file canary."""
    content = torch.load(trained.checkpoint, weights_only=False)
    content["meta"]["env"] = touch(tmp_path / "canary")
    path = tmp_path / "run" / "iter_2.pth"
    path.parent.mkdir()
    torch.save(content, path)
    (path.parent / "last_checkpoint").write_text(str(path))
    yield path
    assert not (tmp_path / "canary").exists()


def test_testing(poisoned, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = (CONFIG, poisoned, "--work-dir", poisoned.parent, "--cfg-options", *SMALL)
    with pytest.raises(CheckpointError, match="would run code from the file"):
        call_tool(monkeypatch, "tools/test.py", *arguments)


def test_mmsegs_own_tool(poisoned, trained):
    """As ``mim test mmseg CONFIG --checkpoint FILE`` runs it."""
    tool = Path(mmseg.__file__).parent / ".mim" / "tools" / "test.py"
    result = run_tool(
        *(sys.executable, tool, CONFIG, poisoned, "--work-dir", poisoned.parent),
        *("--cfg-options", *SMALL),
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    for part in ("CheckpointError", *REFUSED):
        assert part in last


@pytest.mark.parametrize("resume", [False, True])
def test_training_from_it(poisoned, monkeypatch, tmp_path, resume):
    options = [*SMALL, f"load_from={poisoned}", f"resume={resume}"]
    monkeypatch.chdir(ROOT)
    with pytest.raises(CheckpointError, match="would run code from the file"):
        call_tool(
            *(monkeypatch, "tools/train.py", CONFIG, "--work-dir", tmp_path / "new"),
            *("--cfg-options", *options),
        )


@pytest.mark.slow
def test_resuming_by_the_option(poisoned, trained):
    command = ("tools/train.py", CONFIG, "--work-dir", poisoned.parent, "--resume")
    result = run_tool(*command, "--cfg-options", *SMALL)
    assert_one_line(result, "none of the 1 checkpoints")
    assert "would run code from the file" in result.stdout + result.stderr
    shutil.copy(trained.work_dir / "iter_1.pth", poisoned.parent)
    result = run_tool(*command, "--cfg-options", *SMALL)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["predict", "export", "visualize_attention", "analyze_collapse"])
def test_other_tools(poisoned, tool, trained, tmp_path):
    image = next(trained.images.glob("*.jpg"))
    out = ("--out-dir", tmp_path / "out")
    arguments = {
        "predict": (image, "--config", CONFIG, "--checkpoint", poisoned, *out),
        "export": (CONFIG, poisoned),
        "visualize_attention": (image, "--config", CONFIG, "--checkpoint", poisoned, *out),
        "analyze_collapse": (CONFIG, poisoned, "--out", tmp_path / "out"),
    }[tool]
    result = run_tool(f"tools/{tool}.py", *arguments, "--cfg-options", *SMALL)
    assert_one_line(result, *REFUSED)
