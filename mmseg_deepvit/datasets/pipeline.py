"""What our data sets change in the pipelines they are given: how pairs are loaded, no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmcv.transforms import BaseTransform
from mmcv.transforms import LoadImageFromFile as AnyLoadImageFromFile
from mmengine.dataset import Compose
from mmseg.datasets.transforms import LoadAnnotations as AnyLoadAnnotations
from mmseg.datasets.transforms import Resize

from .cache import SharedCache
from .transforms import LoadAnnotations, LoadImageFromFile

#: Transforms that give the same every time.
_FIXED = (LoadImageFromFile, LoadAnnotations, AnyLoadImageFromFile, AnyLoadAnnotations, Resize)


class CachedTransforms(BaseTransform):
    """Transforms that give the same every time, run once for each image.

    Args:
        transforms: They are run one after the other.
        cache: Keeps what comes out of them, by ``img_path``.
    """

    def __init__(self, transforms: Sequence[Callable], cache: SharedCache) -> None:
        self.transforms = Compose(transforms)
        self.cache = cache

    def transform(self, results: dict) -> dict | None:
        """Run the transforms, or take what they gave before.

        Args:
            results: As mmengine's data sets begin it.
        """
        kept = self.cache.get(results["img_path"])
        if kept is None:
            kept = self.transforms(dict(results))
            if kept is None:
                return None
            # The number within the data set is not the same in parts of it.
            self.cache.put(
                results["img_path"], {k: v for k, v in kept.items() if k != "sample_idx"}
            )
        return {**results, **kept}


def edit_pipeline(pipeline: Any, edit: Callable[[Callable], list[Callable]]) -> None:
    """Put other transforms in the place of each, also within test-time augmentation.

    Args:
        pipeline: mmengine's or mmcv's ``Compose``; changed in place.
        edit: Gives what stands in the place of a transform.
    """
    pipeline.transforms = [new for old in pipeline.transforms for new in edit(old)]
    for transform in pipeline.transforms:
        for inner in getattr(transform, "subroutines", ()):
            edit_pipeline(inner, edit)


def drop_annotations(pipeline: Any) -> None:
    """Take ``LoadAnnotations`` out of a pipeline: for images that have none."""
    edit_pipeline(pipeline, lambda t: [] if isinstance(t, AnyLoadAnnotations) else [t])


def check_annotations(pipeline: Any, check: Callable[[dict], dict]) -> None:
    """Let a check follow each ``LoadAnnotations`` of a pipeline.

    Args:
        pipeline: Changed in place.
        check: Takes and gives ``results``, right after the annotations are loaded.
    """
    edit_pipeline(pipeline, lambda t: [t, check] if isinstance(t, AnyLoadAnnotations) else [t])


def cache_loading(
    pipeline: Compose, paths: Sequence[str], max_bytes: int, fixed: Sequence[Callable] = ()
) -> None:
    """Have a pipeline's beginning kept in memory, up to its first random transform.

    Kept is what loading gives and, where a ``Resize`` follows at once, the resized arrays: large
    photographs then take the memory of small ones.

    Args:
        pipeline: Changed in place.
        paths: ``img_path`` of all images.
        max_bytes: Most that is kept.
        fixed: Further transforms that give the same every time.

    Raises:
        ValueError: The pipeline does not begin with ``LoadImageFromFile``.
    """
    # Exact types: a class derived from Resize may well be random.
    steps = [type(t) in _FIXED or t in fixed for t in pipeline.transforms]
    end = steps.index(False) if False in steps else len(steps)
    head, rest = pipeline.transforms[:end], pipeline.transforms[end:]
    if not head or not isinstance(head[0], AnyLoadImageFromFile):
        raise ValueError("cache_images needs a pipeline that begins with LoadImageFromFile")
    pipeline.transforms = [CachedTransforms(head, SharedCache(paths, max_bytes)), *rest]
