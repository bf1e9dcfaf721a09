"""Image files named on a command line, and names for their results."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..datasets.decoding import decode_image
from ..datasets.matching import IMAGE_SUFFIXES
from ..datasets.transforms import read_bytes
from ..errors import UserError


def find_images(inputs: Sequence[str]) -> list[Path]:
    """List the images that files, folders and glob patterns name.

    Args:
        inputs: Files of any ending, folders (searched with subfolders for
            :data:`IMAGE_SUFFIXES`), and patterns (``**`` stands for subfolders).

    Returns:
        Paths without repetition, in the order of the inputs; those of one input are sorted.

    Raises:
        UserError: An input names no file.
    """
    found: dict[Path, None] = {}
    for item in inputs:
        path = Path(item).expanduser()
        if not item.strip() or "\0" in item:
            raise UserError(f"image {item!r} is no name; give a file, a folder or a pattern")
        if path.is_dir():
            files = [p for p in path.rglob("*") if _is_image(p)]
        elif path.is_file():
            files = [path]
        elif glob.has_magic(item):
            files = [Path(p) for p in glob.glob(str(path), recursive=True) if os.path.isfile(p)]
        else:
            raise UserError(f"image {item} does not exist; give a file, a folder or a pattern")
        if not files:
            raise UserError(
                f"{item} holds no images; give files that end in "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        found.update(dict.fromkeys(sorted(files)))
    return list(found)


def _is_image(path: Path) -> bool:
    """Whether a file is an image by its name; hidden files of macOS do not count."""
    named = path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    return named and not path.is_dir()


def result_names(images: Sequence[Path]) -> list[str]:
    """Name the results of each image: by its stem, or by its path if stems are equal.

    Args:
        images: Paths of different files.

    Returns:
        Different names without ending, usable as file names.
    """
    names = [path.stem for path in images]
    counts = Counter(names)
    paths = ["_".join(path.parts[1:] if path.is_absolute() else path.parts) for path in images]
    names = [n if counts[n] == 1 else p for n, p in zip(names, paths, strict=True)]
    taken: Counter[str] = Counter()
    for i, name in enumerate(names):
        taken[name] += 1
        if taken[name] > 1:
            names[i] = f"{name}_{taken[name]}"
    return names


def read_image(path: Path) -> np.ndarray:
    """Read an image as training does: (H, W, 3), uint8, BGR, turned upright by EXIF.

    Raises:
        UserError: The file cannot be opened, or is no complete image of 8 bits a channel.
    """
    return decode_image(read_bytes(str(path)), str(path))
