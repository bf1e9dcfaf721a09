"""Find out from package metadata which OpenMMLab-compatible stack is installed.

OpenMMLab's own distributions and OneDL's provide the same import names (``mmengine``, ``mmcv``,
``mmseg``), so an import does not tell them apart. With both installed their files are mixed up. The
metadata are read before the stack is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

#: Versions that fit, per stack and distribution; the same bounds stand in ``setup.cfg``.
STACKS: dict[str, dict[str, str]] = {
    "onedl": {
        "onedl-mmengine": ">=0.10.10,<1",
        "onedl-mmcv": ">=2.3,<3",
        "onedl-mmsegmentation": ">=1.4,<2",
    },
    "openmmlab": {
        "mmengine": ">=0.10.4,<1",
        "mmcv": ">=2.0.1,<2.2",
        "mmsegmentation": ">=1.2.2,<2",
    },
}
INSTALL_ONEDL = "pip install 'mmseg_deepvit[onedl]'"
INSTALL_OPENMMLAB = "pip install 'mmseg_deepvit[openmmlab]'"


class StackError(ImportError):
    """The installed MMSegmentation stack is missing, doubled or of versions that do not fit."""


def _installed_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def has_stack(installed: Callable[[str], str | None] = _installed_version) -> bool:
    """Whether all distributions of a stack are installed, whatever their versions.

    Args:
        installed: Maps a distribution's name to its version, or None where it is absent.
    """
    return any(all(map(installed, bounds)) for bounds in STACKS.values())


def find_stack(installed: Callable[[str], str | None] = _installed_version) -> str:
    """Name the installed stack.

    Args:
        installed: Maps a distribution's name to its version, or None where it is absent.

    Returns:
        ``'onedl'`` or ``'openmmlab'``.

    Raises:
        StackError: No complete stack, parts of both, or a version outside :data:`STACKS`. The
            message is one line and says what to install or remove.
    """
    found = {
        stack: {name: have for name in bounds if (have := installed(name)) is not None}
        for stack, bounds in STACKS.items()
    }
    present = [stack for stack, parts in found.items() if parts]
    if not present:
        raise StackError(
            "mmseg_deepvit needs MMSegmentation, MMCV and MMEngine, and none is installed: "
            f"{INSTALL_ONEDL} (or, for OpenMMLab's own releases, {INSTALL_OPENMMLAB})"
        )
    if len(present) > 1:
        both = ", ".join(f"{n} {v}" for parts in found.values() for n, v in parts.items())
        remove = " ".join(found["openmmlab"])
        raise StackError(
            "two stacks share the import names mmengine, mmcv and mmseg, and both are here "
            f"({both}): pip uninstall -y {remove} {' '.join(found['onedl'])}, then {INSTALL_ONEDL}"
        )
    (stack,) = present
    _check_versions(stack, found[stack])
    return stack


def _check_versions(stack: str, found: dict[str, str]) -> None:
    # Not at the top: attention is used where nothing but PyTorch is installed.
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    install = INSTALL_ONEDL if stack == "onedl" else INSTALL_OPENMMLAB
    bounds = STACKS[stack]
    missing = [f"{name}{bounds[name]}" for name in bounds if name not in found]
    if missing:
        raise StackError(f"mmseg_deepvit also needs {', '.join(missing)}: {install}")
    unfit = [
        f"{name} {have} (needs {bounds[name]})"
        for name, have in found.items()
        if not SpecifierSet(bounds[name]).contains(Version(have), prereleases=True)
    ]
    if unfit:
        raise StackError(f"mmseg_deepvit does not fit {', '.join(unfit)}: {install}")
