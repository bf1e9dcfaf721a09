"""Reading one pair as training does, with what is wrong told instead of raised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

UNREADABLE = "unreadable"
SIZES_DIFFER = "sizes differ"
NO_CLASS = "labels outside the classes"
NO_MASK = "image without mask"
NO_IMAGE = "mask without image"

#: How whole files end; after this, damage can only be found by decoding.
_ENDINGS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file.

    Args:
        kind: One of the kinds above.
        path: The file.
        said: More of it, one line; may be empty.
    """

    kind: str
    path: str
    said: str = ""


@dataclass(frozen=True)
class PairFacts:
    """What reading a pair told.

    Args:
        size: Height and width of the image; None if it cannot be read.
        pixels: Number of pixels of each label, as training sees labels.
        problems: What is wrong.
    """

    size: tuple[int, int] | None = None
    pixels: Mapping[int, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


class PairReader:
    """Pairs by number, read by the loading transforms of a data set's own pipeline.

    Args:
        infos: As ``load_data_list`` of the data set gives them.
        pipeline: The data set's.
        num_classes: Labels 0 to ``num_classes`` - 1 are classes.
        ignore_index: The label that is no class on purpose.
    """

    def __init__(
        self, infos: Sequence[dict], pipeline: Any, num_classes: int, ignore_index: int
    ) -> None:
        self.infos = infos
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self._loaders = list(_loaders(pipeline))

    def __getitem__(self, i: int) -> PairFacts:
        """Read a pair and look at it; nothing is raised."""
        results, problems = self._load(i)
        problems += self._cut_short(i, {problem.path for problem in problems})
        image, labels = results.get("img"), results.get("gt_seg_map")
        size = None if image is None else (int(image.shape[0]), int(image.shape[1]))
        if labels is None:
            return PairFacts(size, {}, tuple(problems))
        pixels: dict[int, int] = {}
        if labels.ndim == 2:
            values, counts = np.unique(labels, return_counts=True)
            pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
        problems += self._wrong_labels(self.infos[i]["seg_map_path"], size, labels.shape, pixels)
        return PairFacts(size, pixels, tuple(problems))

    def load(self, i: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Image (H, W, 3), uint8, BGR, and labels (H, W) of a pair; None if one has no such."""
        results, _ = self._load(i)
        image, labels = results.get("img"), results.get("gt_seg_map")
        if image is None or labels is None or image.shape != (*labels.shape, 3):
            return None
        return image.astype(np.uint8), labels

    def _load(self, i: int) -> tuple[dict, list[Problem]]:
        """What the loading transforms give, without those that fail."""
        info = self.infos[i]
        results: dict = {**deepcopy(info), "sample_idx": i}
        problems = []
        for loader in self._loaders:
            key = "seg_map_path" if "Annotation" in type(loader).__name__ else "img_path"
            if key not in info:
                continue  # an image without mask
            try:
                loaded = loader(dict(results))
            except Exception as error:  # decoders raise whatever they like
                problems.append(Problem(UNREADABLE, info[key], _told(error, info[key])))
                continue
            if loaded is None:
                problems.append(Problem(UNREADABLE, info[key], "the pipeline drops it"))
            else:
                results = loaded
        return results, problems

    def _cut_short(self, i: int, known: Collection[str]) -> Iterator[Problem]:
        """Further files whose end is missing: some decoders fill it with grey and say nothing."""
        for key in ("img_path", "seg_map_path"):
            path = Path(self.infos[i].get(key, ""))
            ending = _ENDINGS.get(path.suffix.lower())
            if ending is None or str(path) in known or not path.is_file():
                continue
            with path.open("rb") as file:
                file.seek(-min(len(ending), path.stat().st_size), 2)
                whole = file.read() == ending
            # Some cameras write on after the end: then a decoder that minds decides.
            said = None if whole else _decoding_error(path)
            if said is not None:
                yield Problem(UNREADABLE, str(path), said)

    def _wrong_labels(
        self, path: str, size: tuple[int, int] | None, shape: tuple, pixels: Mapping[int, int]
    ) -> Iterator[Problem]:
        if len(shape) != 2:
            yield Problem(NO_CLASS, path, f"{shape[-1]} channels where one is expected")
        if size is not None and tuple(shape[:2]) != size:
            yield Problem(SIZES_DIFFER, path, f"mask {_by(shape)}, image {_by(size)}")
        wrong = [v for v in pixels if not 0 <= v < self.num_classes and v != self.ignore_index]
        if wrong:
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            yield Problem(NO_CLASS, path, f"{', '.join(map(str, wrong[:5]))}{more}")


def _by(size: Sequence[int]) -> str:
    return f"{size[0]}×{size[1]}"


def _loaders(pipeline: Any) -> Iterator[Callable]:
    """The loading transforms of a pipeline, also within test-time augmentation, each kind once."""
    seen = set()
    for transform in pipeline.transforms:
        inner = getattr(transform, "subroutines", ())
        for loader in _loaders(inner[0]) if inner else [transform]:
            kind = type(loader)
            if kind.__name__.startswith("Load") and kind not in seen:
                seen.add(kind)
                yield loader


def _told(error: Exception, path: str) -> str:
    """What a decoder said, one line, without the path that stands before it."""
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, UnidentifiedImageError):
        return "is no image"  # Pillow would name an address in memory
    if isinstance(error, AssertionError | AttributeError):
        return "cannot be decoded"  # the decoder gave None
    text = " ".join(str(error).split()).replace(path, "").strip(" :'")
    return f"{type(error).__name__}: {text}"[:200]


def _decoding_error(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # Pillow's decoders raise SyntaxError, struct.error and more
        return _told(error, str(path))
    return None
