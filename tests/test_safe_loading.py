"""Loading is replaced on request only, never by an import of the package."""

import subprocess
import sys

from .checkpoints.attacks import beside, touch
from .conftest import ROOT

#: Code that prints the modules that read files, one line for each step.
STEPS = """
import sys
import mmseg_deepvit
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmseg.registry import MODELS, TRANSFORMS

def classes():
    kinds = {n: TRANSFORMS.get(n) for n in ("LoadImageFromFile", "LoadAnnotations")}
    return {"SwinTransformer": MODELS.get("SwinTransformer")} | kinds

def tell():
    modules = [*classes().values(), *CheckpointLoader._schemes.values()]
    print(*sorted({module.__module__.partition(".")[0] for module in modules}))

theirs, schemes = classes(), dict(CheckpointLoader._schemes)
imports = ['mmseg_deepvit', 'mmseg_deepvit.command_line']
Config.fromstring(f"custom_imports = dict(imports={imports})", ".py")
import mmseg_deepvit.safe_loading
tell()
pretrained = dict(type="Pretrained", checkpoint=sys.argv[2])
try:
    MODELS.build(dict(type="DeepViT", arch="deepvit-16b", init_cfg=pretrained)).init_weights()
except mmseg_deepvit.errors.CheckpointError as error:
    print("refused", "would run code from the file" in str(error))
Config.fromfile(sys.argv[1])
tell()
for name, kind in theirs.items():
    registry = MODELS if name == "SwinTransformer" else TRANSFORMS
    registry.register_module(name=name, module=kind, force=True)
CheckpointLoader._schemes = schemes
tell()
for _ in range(2):
    mmseg_deepvit.safe_loading.install()
    tell()
"""


def test_only_our_configs_and_install_replace_loading(tmp_path):
    """Our backbones read safely before the replacement, too."""
    canary, weights = tmp_path / "canary", tmp_path / "weights.pth"
    weights.write_bytes(beside(touch(canary)))
    config = ROOT / "configs" / "_base_" / "default_runtime.py"
    command = [sys.executable, "-W", "ignore", "-c", STEPS, config, weights]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    ours, theirs = "mmseg_deepvit", "mmcv mmengine mmseg"
    said = [line for line in result.stdout.splitlines() if line.startswith(("mm", "refused"))]
    assert said == [theirs, "refused True", ours, theirs, ours, ours]
    assert not canary.exists()
