import shutil
import subprocess
import sys
import zipfile

import pytest

from mmseg_deepvit import __version__

from .conftest import ROOT

SOURCES = ("mmseg_deepvit", "configs", "tools", "tests")
FILES = ("setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the names in a wheel that is built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignore)
    for name in (*FILES, "model-index.yml"):
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-q", "-w", str(folder), "."], cwd=folder / "source", check=True)
    (path,) = folder.glob(f"mmseg_deepvit-{__version__}-*.whl")
    return set(zipfile.ZipFile(path).namelist())


def test_the_wheel_holds_every_module_and_nothing_else_importable(wheel):
    """Studies are run from a checkout."""
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "mmseg_deepvit").rglob("*.py")}
    studies = {name for name in modules if name.startswith("mmseg_deepvit/studies/")}
    importable = {n for n in wheel if n.endswith(".py") and "/.mim/" not in n}
    assert importable == modules - studies
    assert studies
    assert not [name for name in wheel if "studies" in name or "run_study" in name]


def test_types_are_for_users_too(wheel):
    assert "mmseg_deepvit/py.typed" in wheel


def test_the_explorer_has_its_style_and_script(wheel):
    for name in ("style.css", "drop.js"):
        assert f"mmseg_deepvit/explorer/{name}" in wheel


def test_mim_finds_configs_and_tools_in_the_wheel(wheel):
    for name in ("model-index.yml", "configs/metafile.yml", "tools/train.py", "tools/test.py"):
        assert f"mmseg_deepvit/.mim/{name}" in wheel
    for path in (ROOT / "configs").rglob("*.py"):
        assert f"mmseg_deepvit/.mim/{path.relative_to(ROOT).as_posix()}" in wheel


def test_the_model_index_lists_every_config():
    import yaml

    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    models = [
        model
        for file in index["Import"]
        for model in yaml.safe_load((ROOT / file).read_text())["Models"]
    ]
    listed = {model["Config"]: model["Name"] for model in models}
    configs = sorted((ROOT / "configs").glob("*.py"))
    assert listed == {f"configs/{path.name}": path.stem for path in configs}
