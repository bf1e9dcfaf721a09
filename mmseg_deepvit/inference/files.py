"""Image files named on a command line, and where their results go."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..datasets.decoding import decode_image
from ..datasets.transforms import read_bytes
from ..errors import UserError

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".jp2", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def find_images(inputs: Sequence[str]) -> list[Path]:
    """List the images that files, folders and glob patterns name.

    Args:
        inputs: Files (taken whatever their ending), folders (searched below, by
            :data:`IMAGE_SUFFIXES`), and patterns (``**`` goes below).

    Returns:
        Each file once, in the order of the inputs, within one sorted.

    Raises:
        UserError: An input names nothing.
    """
    found: dict[Path, None] = {}
    for item in inputs:
        path = Path(item).expanduser()
        if not item.strip() or "\0" in item:
            raise UserError(f"image {item!r} is no name: give a file, a folder or a pattern")
        if path.is_dir():
            files = [p for p in path.rglob("*") if _is_image(p)]
        elif path.is_file():
            files = [path]
        elif glob.has_magic(item):
            files = [Path(p) for p in glob.glob(str(path), recursive=True) if os.path.isfile(p)]
        else:
            raise UserError(f"image {item} does not exist: give a file, a folder or a pattern")
        if not files:
            raise UserError(
                f"{item} holds no images: looked for {', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        found.update(dict.fromkeys(sorted(files)))
    return list(found)


def _is_image(path: Path) -> bool:
    """By its name; hidden files are passed over, as macOS leaves some beside what it unzips."""
    named = path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    return named and not path.is_dir()


def result_names(images: Sequence[Path]) -> list[str]:
    """A name for the results of each image: its stem, or more of its path where stems agree.

    Args:
        images: Different files.

    Returns:
        Names without ending, all different, usable as file names.
    """
    names = [path.stem for path in images]
    counts = Counter(names)
    whole = ["_".join(path.parts[1:] if path.is_absolute() else path.parts) for path in images]
    names = [n if counts[n] == 1 else w for n, w in zip(names, whole, strict=True)]
    taken: Counter[str] = Counter()
    for i, name in enumerate(names):
        taken[name] += 1
        if taken[name] > 1:
            names[i] = f"{name}_{taken[name]}"
    return names


def read_image(path: Path) -> np.ndarray:
    """Read an image as training does.

    Args:
        path: A file.

    Returns:
        (H, W, 3), uint8, BGR, turned as its EXIF says.

    Raises:
        UserError: It cannot be opened, or is no whole image of 8 bits a channel; one line.
    """
    return decode_image(read_bytes(str(path)), str(path))
