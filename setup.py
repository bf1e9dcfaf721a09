"""What pip and mim call; what the package is stands in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOR_MIM = ("configs", "tools", "model-index.yml")
#: Not for mim: studies are run from a checkout.
IGNORED = shutil.ignore_patterns("__pycache__", "run_study.py")


class BuildForMim(build_py):
    """Put configs and tools where mim looks for them in an installed package: ``.mim/``.

    An editable install needs none of it: there mim finds the checkout.
    """

    def run(self):
        """Build, then copy."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        target = Path(self.build_lib) / "mmseg_deepvit" / ".mim"
        shutil.rmtree(target, ignore_errors=True)
        for name in FOR_MIM:
            if Path(name).is_dir():
                shutil.copytree(name, target / name, ignore=IGNORED)
            else:
                shutil.copy(name, target / name)


setup(cmdclass={"build_py": BuildForMim})
