"""Reading one pair as training does, with what is wrong told instead of raised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..decoding import NO_CLASS, UNREADABLE, DataError

NO_MASK = "image without mask"
NO_IMAGE = "mask without image"


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file.

    Args:
        kind: One of the kinds above, or of :mod:`mmseg_deepvit.datasets.decoding`.
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
        image, labels = results.get("img"), results.get("gt_seg_map")
        size = None if image is None else (int(image.shape[0]), int(image.shape[1]))
        if labels is None:
            return PairFacts(size, {}, tuple(problems))
        values, counts = np.unique(labels, return_counts=True)
        pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
        wrong = [v for v in pixels if not 0 <= v < self.num_classes and v != self.ignore_index]
        if wrong:
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            said = f"{', '.join(map(str, wrong[:5]))}{more}"
            problems.append(Problem(NO_CLASS, self.infos[i]["seg_map_path"], said))
        return PairFacts(size, pixels, tuple(problems))

    @property
    def loads_images(self) -> bool:
        """Whether the pipeline reads anything at all."""
        return bool(self._loaders)

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
                problems.append(_problem(error, info[key]))
                continue
            if loaded is None:
                problems.append(Problem(UNREADABLE, info[key], "the pipeline drops it"))
            else:
                results = loaded
        return results, problems


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


def _problem(error: Exception, path: str) -> Problem:
    """What a loader raised, one line, without the path that stands before it."""
    if isinstance(error, DataError):
        return Problem(error.kind, path, error.said)
    text = " ".join(str(error).split()).replace(path, "").strip(" :'")
    return Problem(UNREADABLE, path, f"{type(error).__name__}: {text}"[:200])
