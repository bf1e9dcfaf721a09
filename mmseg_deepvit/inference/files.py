"""Image files named on a command line, and where their results go."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

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
        if path.is_dir():
            files = [p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES]
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
        UserError: It cannot be opened or is no image; one line.
    """
    try:
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror})") from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:
        raise UserError(f"{path}: cannot be decoded ({error.err})") from error
    if image is None:
        what = "is empty" if not data.size else "is no image, or a damaged one"
        raise UserError(f"{path}: {what}")
    return image
