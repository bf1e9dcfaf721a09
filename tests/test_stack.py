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


def test_importing_the_package_without_a_stack_says_what_to_install():
    """A real interpreter whose metadata knows no stack: told before any import fails."""
    code = (
        "import importlib.metadata as m, sys\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name.endswith(('mmengine', 'mmcv', 'mmsegmentation')):\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "sys.modules['mmengine'] = sys.modules['mmcv'] = sys.modules['mmseg'] = None\n"
        "import mmseg_deepvit\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "mmseg_deepvit.stack.StackError: mmseg_deepvit"
    )
    assert INSTALL_ONEDL in result.stderr.splitlines()[-1]


def test_importing_the_package_with_both_stacks_says_what_to_remove(tmp_path):
    """A real interpreter that finds the other stack's metadata beside the installed one's."""
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
    """pip and the check on import agree."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for extra, bounds in STACKS.items():
        listed = setup["options.extras_require"][extra].split()
        for name, bound in bounds.items():
            assert name + bound in listed
