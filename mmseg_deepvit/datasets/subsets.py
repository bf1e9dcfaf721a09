"""Parts of a data set: the names a file lists, and folds for cross-validation."""

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
    path: str, stems: Sequence[str], suffix: str, backend_args: Mapping[str, Any] | None = None
) -> list[str]:
    """The images that a text file lists, one name a line.

    Args:
        path: The file; names stand in it with or without the images' ending, empty lines count
            for nothing.
        stems: Names of all images, without the ending.
        suffix: The images' ending.
        backend_args: Which mmengine file backend holds the file.

    Returns:
        Names without the ending, in the file's order.

    Raises:
        UserError: There is no such file, it names no image, one that is not there, or one twice.
    """
    if not fileio.isfile(path, backend_args):
        raise UserError(f"split file {path} does not exist: give a path below data_root, or a full")
    lines = list_from_file(path, backend_args=backend_args)
    # Editors on Windows begin a file with a byte order mark.
    stripped = (line.strip("\ufeff \t\r\n") for line in lines)
    names = [name.removesuffix(suffix) for name in stripped if name]
    if not names:
        raise UserError(f"split file {path} names no image: write one name a line")
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise UserError(
            f"split file {path} names {len(doubled)} images more than once "
            f"({name_some(doubled)}): remove the doubles"
        )
    there = set(stems)
    unknown = [name for name in names if name not in there]
    if unknown:
        raise UserError(
            f"split file {path} names {len(unknown)} images that are not there "
            f"({name_some(unknown)}): mend the names, or look at data_root and part"
        )
    return names


@dataclass(frozen=True)
class Fold:
    """One of several seeded folds.

    Which image is in which fold depends on the names, the seed and the number of folds only: names
    are ordered by a hash, and every ``count``-th is taken. NumPy's and Python's generators could
    give other orders in later versions.

    Args:
        index: Which fold is held out, 0 to ``count`` - 1.
        count: Number of folds, at least 2.
        part: ``'train'`` takes all but the fold, ``'val'`` the fold.
        seed: Other seeds give other folds.

    Raises:
        ValueError: An argument is none of these.
    """

    index: int
    count: int
    part: str
    seed: int

    def __post_init__(self) -> None:
        for name, value, low in (("num_folds", self.count, 2), ("fold", self.index, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"{name} must be a whole number, at least {low}, got {value!r}")
        if self.index >= self.count:
            raise ValueError(f"fold must be 0 to {self.count - 1} (num_folds), got {self.index}")
        if self.part not in ("train", "val"):
            raise ValueError(
                f"fold={self.index} needs fold_part='train' (all but this fold) or 'val' (this "
                f"fold), got {self.part!r}"
            )

    def choose(self, stems: Sequence[str]) -> list[str]:
        """The names that belong to the part, sorted.

        Args:
            stems: All names, in any order.

        Raises:
            UserError: There are fewer names than folds.
        """
        if len(stems) < self.count:
            raise UserError(
                f"num_folds={self.count} needs at least {self.count} images, and the part has "
                f"{len(stems)}; set fewer folds"
            )
        ordered = sorted(stems, key=self._rank)
        held_out = set(ordered[self.index :: self.count])
        return sorted(stem for stem in stems if (stem in held_out) == (self.part == "val"))

    def _rank(self, stem: str) -> bytes:
        return hashlib.sha256(f"{self.seed}:{stem}".encode()).digest()
