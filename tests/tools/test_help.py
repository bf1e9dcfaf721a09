"""Every tool's help comes at once: without PyTorch, and without the lines that the stack prints."""

import runpy
import subprocess
import sys

from mmseg_deepvit.attention import BACKENDS
from mmseg_deepvit.diversity import losses
from mmseg_deepvit.export import FORMATS
from mmseg_deepvit.export.exporting import TOLERANCE
from mmseg_deepvit.own_data import BACKBONES as OWN_BACKBONES
from mmseg_deepvit.own_data import HEADS, NORMALIZATIONS, SAMPLE

from ..conftest import ROOT

TOOLS = sorted((ROOT / "tools").glob("*.py"))


def test_help_imports_no_pytorch():
    """All at the same time, each in a process of its own."""
    command = [sys.executable, "-X", "importtime"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    started = [subprocess.Popen([*command, tool, "--help"], **pipes) for tool in TOOLS]
    for tool, process in zip(TOOLS, started, strict=True):
        out, imports = process.communicate()
        assert process.returncode == 0, (tool, imports[-2000:])
        assert out.startswith("usage: ") or tool.stem == "pretrain"
        assert "OneDL" not in out
        imported = {line.rpartition("|")[2].strip() for line in imports.splitlines()}
        assert imported.isdisjoint({"torch", "mmseg", "mmcv"}), tool
        assert "mmseg_deepvit" in imported


def test_choices_that_help_needs_are_those_of_the_package():
    tool = runpy.run_path(str(ROOT / "tools/export.py"))
    assert (tool["FORMAT_NAMES"], tool["TOLERANCE"]) == (tuple(FORMATS), TOLERANCE)
    assert runpy.run_path(str(ROOT / "tools/benchmark_model.py"))["BACKENDS"] == BACKENDS
    tool = runpy.run_path(str(ROOT / "tools/new_config.py"))
    assert tool["BACKBONES"] == tuple(OWN_BACKBONES)
    assert (tool["HEADS"], tool["NORMALIZATIONS"]) == (HEADS, tuple(NORMALIZATIONS))
    assert tool["SAMPLE"] == SAMPLE
    tool = runpy.run_path(str(ROOT / "tools/pretrain.py"))
    assert (tool["VARIANTS"], tool["TEMPERATURE"]) == (losses.VARIANTS, losses.TEMPERATURE)
