"""Reading one pair as training does; problems are returned, not raised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...label_pictures import as_picture
from ..damage import NO_CLASS, UNREADABLE, DataError
from ..pairs import name_some

Results = dict[str, Any]
NO_MASK = "image without mask"
NO_IMAGE = "mask without image"


@dataclass(frozen=True)
class Problem:
    """A problem with a file.

    Args:
        kind: One of the kinds above, or of :mod:`mmseg_deepvit.datasets.damage`.
        path: Path of the file.
        said: Details in one line; may be empty.
    """

    kind: str
    path: str
    said: str = ""


@dataclass(frozen=True)
class PairFacts:
    """Result of reading a pair.

    Args:
        size: Height and width of the image; None if it cannot be read.
        pixels: Number of pixels of each label, as training sees labels.
        problems: Problems of both files.
    """

    size: tuple[int, int] | None = None
    pixels: Mapping[int, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


class PairReader:
    """Pairs by number, read by the loading transforms of a data set's pipeline.

    Args:
        infos: Results of the data set's ``load_data_list``.
        pipeline: Pipeline of the data set.
        num_classes: Number of classes; labels 0 to ``num_classes`` - 1 are classes.
        ignore_index: Label of ignored pixels.
    """

    def __init__(
        self, infos: Sequence[Results], pipeline: Any, num_classes: int, ignore_index: int
    ) -> None:
        self.infos = infos
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self._loaders = list(_loaders(pipeline))

    def __getitem__(self, i: int) -> PairFacts:
        """Read a pair and check it; problems are returned."""
        results, problems = self._load(i)
        image, labels = results.get("img"), results.get("gt_seg_map")
        size = None if image is None else (int(image.shape[0]), int(image.shape[1]))
        if labels is None:
            return PairFacts(size, {}, tuple(problems))
        values, counts = np.unique(labels, return_counts=True)
        pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
        wrong = [v for v in pixels if not 0 <= v < self.num_classes and v != self.ignore_index]
        if wrong:
            said = name_some([str(label) for label in wrong], most=5)
            problems.append(Problem(NO_CLASS, self.infos[i]["seg_map_path"], said))
        return PairFacts(size, pixels, tuple(problems))

    @property
    def loads_images(self) -> bool:
        """Whether the pipeline has any loading transform."""
        return bool(self._loaders)

    def load(self, i: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Load a pair for the eye: (H, W, 3), uint8, BGR, and labels; None if it has problems."""
        results, _ = self._load(i)
        image, labels = results.get("img"), results.get("gt_seg_map")
        if image is None or labels is None or image.shape[:2] != labels.shape:
            return None
        return as_picture(image), labels

    def _load(self, i: int) -> tuple[Results, list[Problem]]:
        """Run the loading transforms; those that fail become problems."""
        info = self.infos[i]
        results: Results = {**deepcopy(info), "sample_idx": i}
        problems = []
        for loader in self._loaders:
            key = "seg_map_path" if "Annotation" in type(loader).__name__ else "img_path"
            if key not in info:
                continue  # an image without mask
            try:
                loaded = loader(dict(results))
            except Exception as error:  # decoders raise errors of any type
                problems.append(_problem(error, info[key]))
                continue
            if loaded is None:
                problems.append(Problem(UNREADABLE, info[key], "the pipeline drops it"))
            else:
                results = loaded
        return results, problems


def _loaders(pipeline: Any) -> Iterator[Callable[[Results], Results | None]]:
    """Loading transforms of a pipeline, also inside test-time augmentation, each kind once."""
    seen = set()
    for transform in pipeline.transforms:
        inner = getattr(transform, "subroutines", ())
        for loader in _loaders(inner[0]) if inner else [transform]:
            kind = type(loader)
            if kind.__name__.startswith("Load") and kind not in seen:
                seen.add(kind)
                yield loader


def _problem(error: Exception, path: str) -> Problem:
    """Make a problem of a loader's error: one line, without the path."""
    if isinstance(error, DataError):
        return Problem(error.kind, path, error.said)
    text = " ".join(str(error).split()).replace(path, "").strip(" :'")
    return Problem(UNREADABLE, path, f"{type(error).__name__}: {text}"[:200])
