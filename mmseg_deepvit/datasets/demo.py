"""Demo data set: synthetic dermoscopy in the folder layout of ISIC 2018 Task 1.

The real data are gigabytes under a licence of the challenge. This module writes a small substitute
within seconds: training, evaluation and examples then run offline, with the same pictures on every
run. The layout is that of the real set, so one data set class and one config serve both::

    ROOT/demo.json
    ROOT/ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg
    ROOT/ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png
    ROOT/ISIC2018_Task1-2_Validation_Input/ISIC_1000000.jpg
    ROOT/ISIC2018_Task1_Validation_GroundTruth/ISIC_1000000_segmentation.png

Scores on it tell whether a model and its training work; they tell nothing about skin cancer.
:mod:`mmseg_deepvit.datasets.dermoscopy` draws the pictures.
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

from ..label_pictures import write_jpeg, write_png
from .dermoscopy import MIN_SIZE, render_lesion_image
from .dermoscopy.primitives import BoolArray

__all__ = ["otsu_lesion_mask", "render_lesion_image", "write_demo_dataset"]

#: File in a demo set's folder that records the arguments of :func:`write_demo_dataset`.
RECORD_NAME = "demo.json"

_GENERATOR = "mmseg_deepvit.datasets.demo"
# Raise it when the pictures change: older sets are then made again.
_FORMAT_VERSION = 1
# Validation ids start at a fixed number. If they followed the training ids, pictures would move
# between the splits with the number of training pictures.
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

    Each picture depends on the seed and its number only: sets of different counts share pictures.
    The set is made in a temporary folder next to ``root`` and renamed when it is complete, so an
    interrupted run leaves no incomplete set.

    Args:
        root: Folder of the set: missing, empty, or an earlier demo set. A set made with the same
            arguments is left untouched; one made with others is replaced.
        num_train: Number of training pictures, 1 to 1000000.
        num_val: Number of validation pictures, 1 to 1000000.
        size: Side of the square pictures in pixels, at least 32.
        seed: Seed of the pictures, 0 or more.

    Returns:
        ``root`` as a path.

    Raises:
        ValueError: A count, the size or the seed is not an integer in its range.
        FileExistsError: ``root`` holds anything that this function did not write.
        OSError: A file cannot be written.
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
        # A subfolder, because the temporary folder itself is closed to other users.
        fresh = Path(scratch) / "new"
        _write_set(fresh, record)
        _publish(fresh, target, record)
    return Path(root)


def otsu_lesion_mask(image: np.ndarray) -> BoolArray:
    """Segment by Otsu's threshold on grey, as a baseline without learning.

    Args:
        image: BGR picture, (H, W, 3), uint8.

    Returns:
        Mask of the darker side of the threshold, (H, W).

    Raises:
        ValueError: ``image`` has another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            "image: expected uint8 of shape (height, width, 3), "
            f"got {image.dtype} of shape {image.shape}"
        )
    # The blur removes sensor noise and thin hairs.
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (5, 5), 0)
    _, darker = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    return darker.astype(bool)


def _checked(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return an integer as int, or raise ValueError if it is none or out of its range."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"{low} to {high}"
        raise ValueError(f"{name}: expected an integer, {wanted}, got {value!r}")
    return int(value)


def _read_record(root: Path) -> dict[str, Any] | None:
    """Read the record of the demo set in a folder; None if the folder holds no demo set."""
    try:
        record = json.loads((root / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # Other programs may write a file demo.json too.
    if not isinstance(record, dict) or record.get("generator") != _GENERATOR:
        return None
    return record


def _refuse_foreign(root: Path) -> None:
    """Raise FileExistsError if replacing a folder would delete foreign files."""
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
                f"{root} holds a demo set made with other arguments and a foreign file, {name}, "
                "that would be deleted with it; choose another folder or move the file away"
            )


def _write_set(root: Path, record: dict[str, Any]) -> None:
    """Write all pictures and masks of a set, and its record, into a new folder."""
    for split, count in (("Training", record["num_train"]), ("Validation", record["num_val"])):
        images, masks = (root / folder for folder in _FOLDERS[split])
        images.mkdir(parents=True)
        masks.mkdir()
        for index in range(_FIRST_INDEX[split], _FIRST_INDEX[split] + count):
            # A spawn key gives each index an independent stream.
            sequence = np.random.SeedSequence(record["seed"], spawn_key=(index,))
            image, mask = render_lesion_image(np.random.default_rng(sequence), record["size"])
            # Lower qualities blur borders between colours.
            write_jpeg(images / f"ISIC_{index:07d}.jpg", image, quality=95)
            write_png(masks / f"ISIC_{index:07d}_segmentation.png", mask.astype(np.uint8) * 255)
    text = json.dumps(record, indent=2) + "\n"
    (root / RECORD_NAME).write_text(text, encoding="utf-8")


def _publish(fresh: Path, root: Path, record: dict[str, Any]) -> None:
    """Rename a complete set into place, and an older one into the temporary folder."""
    old = fresh.parent / "old"
    if root.exists():
        os.rename(root, old)
    try:
        os.rename(fresh, root)
    except OSError:
        # Another process, such as a second rank, may have written the same set meanwhile.
        if _read_record(root) == record:
            return
        if old.exists() and not root.exists():
            os.rename(old, root)
        raise
