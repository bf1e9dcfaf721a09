"""What pip and mim call; what the package is stands in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import Extension, setup
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


#: Attention for CPUs, called through ctypes: one binary for every Python from 3.10 on and every
#: PyTorch. Where it does not compile, installing goes on, and attention in PyTorch's operators
#: serves.
PASSES = Extension(
    "mmseg_deepvit.attention.native._passes",
    sources=["mmseg_deepvit/attention/native/library.cpp"],
    depends=[str(path) for path in Path("mmseg_deepvit/attention/native").glob("*.[hi]*")],
    extra_compile_args=[
        *("-O3", "-std=c++17", "-fno-math-errno", "-Wno-psabi", "-g0"),
        "-falign-loops=64",  # else a change anywhere moves loops to where they take 7 % longer
    ],
    language="c++",
    optional=True,
    py_limited_api=True,
)

setup(
    cmdclass={"build_py": BuildForMim},
    ext_modules=[PASSES],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
