import os
import re
import subprocess
import sys
from configparser import ConfigParser

import pytest

from mmseg_deepvit.stack import INSTALL_ONEDL, STACKS, StackError, find_stack

from .conftest import ROOT

ONEDL = {"onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6", "onedl-mmsegmentation": "1.4.2"}
OPENMMLAB = {"mmengine": "0.10.7", "mmcv": "2.1.0", "mmsegmentation": "1.2.2"}


def test_either_stack_fits():
    assert find_stack(ONEDL.get) == "onedl"
    assert find_stack(OPENMMLAB.get) == "openmmlab"


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        ({}, f"none is installed: {re.escape(INSTALL_ONEDL)}"),
        (ONEDL | OPENMMLAB, "pip uninstall -y mmengine mmcv mmsegmentation onedl-mmengine"),
        (ONEDL | {"mmengine": "0.10.7"}, "both are here"),
        ({**ONEDL, "onedl-mmcv": "1.7.0"}, "does not fit onedl-mmcv 1.7.0 .needs >=2.3,<3.: pip"),
        ({**OPENMMLAB, "mmcv": "2.2.0"}, "does not fit mmcv 2.2.0"),
        ({"mmengine": "0.10.7"}, "also needs mmcv>=2.0.1,<2.2, mmsegmentation>=1.2.2,<2: pip"),
    ],
)
def test_what_does_not_fit_is_one_line(installed, message):
    with pytest.raises(StackError, match=message) as caught:
        find_stack(installed.get)
    assert "\n" not in str(caught.value)


#: Code that makes an interpreter find only PyTorch and the standard library.
PYTORCH_ALONE = """
import importlib.metadata, sys
def version(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = version
blocked = "mmengine mmcv mmseg timm matplotlib cv2 safetensors huggingface_hub packaging scipy yaml"
sys.modules.update(dict.fromkeys(blocked.split()))
"""


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_attention_needs_pytorch_alone():
    """Attention has gradients, and the package imports, with nothing else installed."""
    result = run_python(
        PYTORCH_ALONE
        + """
import torch, mmseg_deepvit
from mmseg_deepvit.attention import HeadMixingAttention
module = HeadMixingAttention(32, 4, post_mix=True, mix_norm_cfg=dict(type="SyncBN"))
module(torch.randn(1, 400, 32)).sum().backward()
print(mmseg_deepvit.__version__, module.qkv.weight.grad.isfinite().all().item())
"""
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[1] == "True"


@pytest.mark.parametrize("room", ["backbones", "command_line", "engine", "export"])
def test_rooms_that_need_a_stack_say_what_to_install(room):
    result = run_python(f"{PYTORCH_ALONE}\nimport mmseg_deepvit.{room}")
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("mmseg_deepvit.stack.StackError: mmseg_deepvit needs MMSegmentation")
    assert INSTALL_ONEDL in last


def test_importing_the_package_with_both_stacks_says_what_to_remove(tmp_path):
    """An interpreter finds the metadata of both stacks."""
    other = OPENMMLAB if find_stack() == "onedl" else ONEDL
    for name, version in other.items():
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (folder / "METADATA").write_text(text)
    result = subprocess.run(
        [sys.executable, "-c", "import mmseg_deepvit"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert "two stacks share the import names" in last
    assert "pip uninstall -y mmengine mmcv mmsegmentation onedl-mmengine" in last


def test_the_bounds_are_those_of_setup_cfg():
    """The bounds for pip and those of the check on import agree."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for extra, bounds in STACKS.items():
        listed = setup["options.extras_require"][extra].split()
        for name, bound in bounds.items():
            assert name + bound in listed
