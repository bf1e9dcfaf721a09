"""Arguments of the backbones: architectures by name, and checks that name what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from timm.layers import to_2tuple

from ..checkpoints import TIMM_SCHEME, trunk_arguments

#: Sizes without a default.
_SIZES = ("embed_dims", "num_layers", "num_heads")


def settings_of(
    arch: str | dict[str, Any],
    archs: Mapping[str, dict[str, Any]],
    defaults: dict[str, Any],
    overrides: dict[str, Any],
) -> dict[str, Any]:
    """The trunk's arguments for an architecture.

    Args:
        arch: Key of ``archs``, name of a plain transformer of timm (``timm://NAME``), or arguments
            that override ``defaults``.
        archs: Arguments of the published architectures.
        defaults: Arguments that all of them share.
        overrides: Arguments that override all others.

    Raises:
        ValueError: ``arch`` is not in ``archs``, or is a dict that leaves a size unset. The message
            lists the names or the sizes.
        CheckpointError: timm has no such model, or the trunk lacks a part of it.
    """
    if isinstance(arch, str) and arch.startswith(TIMM_SCHEME):
        return {**defaults, **trunk_arguments(arch), **overrides}
    if not isinstance(arch, dict):
        if not isinstance(arch, str) or arch not in archs:
            raise ValueError(
                f"arch must be timm://NAME, a dict or one of {', '.join(archs)}, got {arch!r}"
            )
        return {**archs[arch], **overrides}
    settings = {**defaults, **arch, **overrides}
    if lacking := [name for name in _SIZES if name not in settings]:
        raise ValueError(f"arch as a dict lacks {', '.join(lacking)}; give {', '.join(_SIZES)}")
    return settings


def pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Two positive integers from one or two.

    Raises:
        ValueError: ``value`` is anything else.
    """
    both = tuple(to_2tuple(value))
    if len(both) != 2 or not all(isinstance(v, int) and v > 0 for v in both):
        raise ValueError(f"{name} must be one or two positive integers, got {value!r}")
    return both[0], both[1]


def check_names(owner: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise a TypeError that suggests the nearest argument unless all names are known."""
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "leave it out"
            raise TypeError(f"{owner} has no argument {name}: {hint}")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise a ValueError unless a value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_range(name: str, value: int, low: int, high: int | None = None) -> None:
    """Raise a ValueError unless low ≤ value ≤ high (None: no upper bound)."""
    if value < low or (high is not None and value > high):
        upper = "" if high is None else f" and at most {high}"
        raise ValueError(f"{name} must be at least {low}{upper}, got {value}")


def check_rate(name: str, value: float) -> None:
    """Raise a ValueError unless 0 ≤ value < 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value}")


def normalize_out_indices(out_indices: int | Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Indices of blocks, counted from the start.

    Raises:
        TypeError: ``out_indices`` is neither an integer nor a sequence of integers.
        ValueError: ``out_indices`` is empty, or an index is out of range.
    """
    indices = (out_indices,) if isinstance(out_indices, int) else out_indices
    if not isinstance(indices, Sequence) or not all(isinstance(i, int) for i in indices):
        raise TypeError(f"out_indices must be an integer or several, got {out_indices!r}")
    if not indices or not all(-num_layers <= i < num_layers for i in indices):
        raise ValueError(f"out_indices must name some of {num_layers} blocks, got {out_indices!r}")
    return tuple(i % num_layers for i in indices)
