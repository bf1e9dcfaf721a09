"""Demo data set: synthetic dermoscopy in the folder layout of ISIC 2018 Task 1.

The real challenge data need a download of gigabytes and an agreement to their licence. This module
writes a small stand-in within seconds, so that training, evaluation and the examples of this
package run anywhere, offline, and give the same pictures on every run. The layout is that of the
real set, so that one data set class and one config serve both::

    ROOT/demo.json
    ROOT/ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg
    ROOT/ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png
    ROOT/ISIC2018_Task1-2_Validation_Input/ISIC_1000000.jpg
    ROOT/ISIC2018_Task1_Validation_GroundTruth/ISIC_1000000_segmentation.png

Scores on it say whether a model and its training work, nothing about skin cancer. The pictures
themselves are drawn in :mod:`mmseg_deepvit.datasets.dermoscopy`.
"""

from __future__ import annotations

import json
import numbers
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .dermoscopy import MIN_SIZE, render_lesion_image
from .dermoscopy.primitives import BoolArray, UInt8Array

__all__ = ["otsu_lesion_mask", "render_lesion_image", "write_demo_dataset"]

RECORD_NAME = "demo.json"
"""File in a demo set's folder that tells what it was made with."""

_GENERATOR = "mmseg_deepvit.datasets.demo"
# Raise it when the pictures change, so that sets written before are made again.
_FORMAT_VERSION = 1
# Validation ids start at a fixed number, not behind the training ids: otherwise a picture would
# move from one split to the other when the number of training pictures changes.
_MAX_COUNT = 1_000_000
_FIRST_INDEX = {"Training": 0, "Validation": _MAX_COUNT}
_FOLDERS = {
    split: (f"ISIC2018_Task1-2_{split}_Input", f"ISIC2018_Task1_{split}_GroundTruth")
    for split in _FIRST_INDEX
}
_OWN_FILE = re.compile(
    r"demo\.json"
    r"|ISIC2018_Task1-2_(Training|Validation)_Input(/ISIC_\d{7}\.jpg)?"
    r"|ISIC2018_Task1_(Training|Validation)_GroundTruth(/ISIC_\d{7}_segmentation\.png)?"
)


def write_demo_dataset(
    root: str | Path, num_train: int = 320, num_val: int = 80, size: int = 128, seed: int = 0
) -> Path:
    """Write the demo set, unless it is there already.

    Each picture depends on the seed and its own number only: with other counts the pictures that
    both sets have are the same. The set is made in a temporary folder beside ``root`` and renamed
    when it is complete, so that a run that stops early leaves no half set.

    Args:
        root: Folder of the set. It may be missing, empty, or hold an earlier demo set; a set made
            with the same arguments is left untouched, one made with others is replaced.
        num_train: Number of training pictures, 1 to 1000000.
        num_val: Number of validation pictures, 1 to 1000000.
        size: Side of the square pictures in pixels, at least 32.
        seed: Seed of the pictures, 0 or more.

    Returns:
        ``root`` as a path.

    Raises:
        ValueError: If a count, the size or the seed is not a whole number in its range.
        FileExistsError: If ``root`` holds anything that this function did not write.
        OSError: If a file cannot be written.
    """
    record = {
        "generator": _GENERATOR,
        "format_version": _FORMAT_VERSION,
        "num_train": _checked("num_train", num_train, 1, _MAX_COUNT),
        "num_val": _checked("num_val", num_val, 1, _MAX_COUNT),
        "size": _checked("size", size, MIN_SIZE),
        "seed": _checked("seed", seed, 0),
    }
    # The target of a link is replaced, not the link.
    target = Path(root).resolve()
    if _read_record(target) == record:
        return Path(root)
    _refuse_foreign(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        # A folder inside, because the temporary folder itself is closed to other users.
        fresh = Path(scratch) / "new"
        _write_set(fresh, record)
        _publish(fresh, target, record)
    return Path(root)


def otsu_lesion_mask(image: np.ndarray) -> BoolArray:
    """Segment by Otsu's threshold on grey: what a colour threshold alone can reach.

    Args:
        image: BGR picture, uint8 of shape (height, width, 3), 0..255.

    Returns:
        Mask of shape (height, width), true on the darker side of the threshold.

    Raises:
        ValueError: If ``image`` is not a uint8 array of shape (height, width, 3).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            "image: expected uint8 of shape (height, width, 3), "
            f"got {image.dtype} of shape {image.shape}"
        )
    # The blur keeps sensor noise and thin hairs from deciding single pixels.
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (5, 5), 0)
    _, darker = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    return darker.astype(bool)


def _checked(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return a whole number as int, or raise ValueError if it is none or out of its range."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"{low} to {high}"
        raise ValueError(f"{name}: expected a whole number, {wanted}, got {value!r}")
    return int(value)


def _read_record(root: Path) -> dict[str, Any] | None:
    """Record of the demo set in a folder, or None if the folder holds no demo set."""
    try:
        record = json.loads((root / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # Others may call a file demo.json too.
    if not isinstance(record, dict) or record.get("generator") != _GENERATOR:
        return None
    return record


def _refuse_foreign(root: Path) -> None:
    """Raise FileExistsError if replacing a folder would delete what this module did not write."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if _read_record(root) is None:
        raise FileExistsError(
            f"{root} exists and is not a demo set (it has no {RECORD_NAME} of this package); "
            "choose another folder"
        )
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not _OWN_FILE.fullmatch(name):
            raise FileExistsError(
                f"{root} holds a demo set made with other arguments, and {name}, which does not "
                "belong to it and would be deleted with it; choose another folder or move it away"
            )


def _write_set(root: Path, record: dict[str, Any]) -> None:
    """Write all pictures, masks and the record of a set into a new folder."""
    for split, count in (("Training", record["num_train"]), ("Validation", record["num_val"])):
        images, masks = (root / folder for folder in _FOLDERS[split])
        images.mkdir(parents=True)
        masks.mkdir()
        for index in range(_FIRST_INDEX[split], _FIRST_INDEX[split] + count):
            # A spawn key gives every index its own stream, whatever the seed is.
            sequence = np.random.SeedSequence(record["seed"], spawn_key=(index,))
            image, mask = render_lesion_image(np.random.default_rng(sequence), record["size"])
            _write_image(images / f"ISIC_{index:07d}.jpg", image)
            _write_image(masks / f"ISIC_{index:07d}_segmentation.png", mask.astype(np.uint8) * 255)
    text = json.dumps(record, indent=2) + "\n"
    (root / RECORD_NAME).write_text(text, encoding="utf-8")


def _write_image(path: Path, image: UInt8Array) -> None:
    """Write a picture; OpenCV only returns False when the disk is full or the folder is gone."""
    # Lower qualities blur borders that only the colour shows. OpenCV warns if PNG gets a quality.
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
    if not cv2.imwrite(str(path), image, options):
        raise OSError(f"could not write {path}")


def _publish(fresh: Path, root: Path, record: dict[str, Any]) -> None:
    """Rename a complete set into place; the set that was there goes to the temporary folder."""
    old = fresh.parent / "old"
    if root.exists():
        os.rename(root, old)
    try:
        os.rename(fresh, root)
    except OSError:
        # Another process, such as a second rank, may have put the same set there meanwhile.
        if _read_record(root) == record:
            return
        if old.exists() and not root.exists():
            os.rename(old, root)
        raise
