"""Parts of a data set: a list of names in a file, and folds for cross-validation."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine import fileio, list_from_file

from ..errors import UserError
from .pairs import name_some


def read_split(
    path: str,
    stems: Sequence[str],
    suffix: str | tuple[str, ...],
    backend_args: Mapping[str, Any] | None = None,
) -> list[str]:
    """Read a text file that lists images, one name a line, with or without their ending.

    Args:
        path: Path of the file; empty lines in it do not count.
        stems: Names of all images, without the ending.
        suffix: Ending of the images, or several.
        backend_args: mmengine's settings of the backend that holds the file.

    Returns:
        Names without the ending, in the file's order.

    Raises:
        UserError: There is no such file; or it names no image, an unknown one, or one twice.
    """
    if not fileio.isfile(path, backend_args):
        raise UserError(
            f"split file {path} does not exist; give its full path, or one below data_root"
        )
    lines = list_from_file(path, backend_args=backend_args)
    # Editors on Windows begin a file with a byte order mark.
    stripped = (line.strip("\ufeff \t\r\n") for line in lines)
    names = [_without(name, suffix) for name in stripped if name]
    if not names:
        raise UserError(f"split file {path} names no image; write one name a line")
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise UserError(
            f"split file {path} names {len(doubled)} images more than once "
            f"({name_some(doubled)}); remove the doubles"
        )
    there = set(stems)
    unknown = [name for name in names if name not in there]
    if unknown:
        raise UserError(
            f"split file {path} names {len(unknown)} images that are not there "
            f"({name_some(unknown)}); correct the names, or check data_root and part"
        )
    return names


def _without(name: str, suffix: str | tuple[str, ...]) -> str:
    """A name without the longest of the endings that it has."""
    endings = (suffix,) if isinstance(suffix, str) else suffix
    return name.removesuffix(max(filter(name.endswith, endings), key=len, default=""))


@dataclass(frozen=True)
class RandomPart:
    """A random part of a data set, in which an image stays when others are added or removed.

    The hash of an image's name decides its part, so ``val_fraction`` holds on average only.

    Args:
        part: ``'train'`` or ``'val'``.
        val_fraction: Expected share of validation, in (0, 1).
        seed: Seed of the division.

    Raises:
        ValueError: An argument has another value.
    """

    part: str
    val_fraction: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.part not in ("train", "val"):
            raise ValueError(f"part must be 'train' or 'val', got {self.part!r}")
        if not isinstance(self.val_fraction, int | float) or not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction must be above 0 and below 1, got {self.val_fraction!r}")

    def choose(self, stems: Sequence[str]) -> list[str]:
        """Select the part's names from all names, in their order.

        Raises:
            UserError: There are none.
        """
        wanted = self.part == "val"
        chosen = [stem for stem in stems if self.is_val(stem) == wanted]
        if not chosen:
            raise UserError(
                f"val_fraction={self.val_fraction} with seed={self.seed} leaves no image of "
                f"{len(stems)} for {self.part}; set another seed or fraction"
            )
        return chosen

    def is_val(self, stem: str) -> bool:
        """Whether an image is for validation."""
        digest = hashlib.sha256(f"{self.seed}:{stem}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.val_fraction * 2**64


@dataclass(frozen=True)
class Fold:
    """One of several seeded folds.

    Folds depend on the names, the seed and the number of folds only: names are ordered by a hash,
    and a fold is every ``count``-th of them. Random generators could change between versions.

    Args:
        index: Number of the held-out fold, 0 to ``count`` - 1.
        count: Number of folds, at least 2.
        part: ``'train'`` for all but the fold, ``'val'`` for the fold.
        seed: Seed of the division into folds.

    Raises:
        ValueError: An argument has another value.
    """

    index: int
    count: int
    part: str
    seed: int

    def __post_init__(self) -> None:
        for name, value, low in (("num_folds", self.count, 2), ("fold", self.index, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}")
        if self.index >= self.count:
            raise ValueError(f"fold must be 0 to {self.count - 1} (num_folds), got {self.index}")
        if self.part not in ("train", "val"):
            raise ValueError(
                f"fold={self.index} needs fold_part='train' (all but this fold) or 'val' (this "
                f"fold), got {self.part!r}"
            )

    def choose(self, stems: Sequence[str]) -> list[str]:
        """Select the part's names from all names, and sort them.

        Raises:
            UserError: There are fewer names than folds.
        """
        if len(stems) < self.count:
            raise UserError(
                f"num_folds={self.count} needs at least {self.count} images and the part has "
                f"{len(stems)}; set fewer folds"
            )
        ordered = sorted(stems, key=lambda s: hashlib.sha256(f"{self.seed}:{s}".encode()).digest())
        held_out = set(ordered[self.index :: self.count])
        return sorted(stem for stem in stems if (stem in held_out) == (self.part == "val"))
