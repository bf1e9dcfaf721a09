"""Changes that our data sets make to their pipelines, all in the loading of pairs."""

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

Transform = Callable[..., Any]
#: Transforms without randomness.
_FIXED = (LoadImageFromFile, LoadAnnotations, AnyLoadImageFromFile, AnyLoadAnnotations, Resize)


class CachedTransforms(BaseTransform):
    """Transforms without randomness, run once for each image.

    Args:
        transforms: Transforms in their order.
        cache: Store of their results, by ``img_path``.
    """

    def __init__(self, transforms: Sequence[Transform], cache: SharedCache) -> None:
        self.transforms = Compose(transforms)
        self.cache = cache

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Run the transforms, or take their earlier result from the cache."""
        kept = self.cache.get(results["img_path"])
        if kept is None:
            kept = self.transforms(dict(results))
            if kept is None:
                return None
            # An image has other numbers in subsets of the data set.
            entry = {k: v for k, v in kept.items() if k != "sample_idx"}
            self.cache.put(results["img_path"], entry)
        return {**results, **kept}


def edit_pipeline(pipeline: Any, edit: Callable[[Transform], list[Transform]]) -> None:
    """Replace each transform of a pipeline, also inside test-time augmentation.

    Args:
        pipeline: ``Compose`` of mmengine or mmcv; changed in place.
        edit: Function from a transform to those that replace it.
    """
    pipeline.transforms = [new for old in pipeline.transforms for new in edit(old)]
    for transform in pipeline.transforms:
        for inner in getattr(transform, "subroutines", ()):
            edit_pipeline(inner, edit)


def drop_annotations(pipeline: Any) -> None:
    """Remove ``LoadAnnotations`` from a pipeline, for images without masks."""
    edit_pipeline(pipeline, lambda t: [] if isinstance(t, AnyLoadAnnotations) else [t])


def check_annotations(pipeline: Any, check: Transform) -> None:
    """Put a check, from ``results`` to ``results``, after each ``LoadAnnotations``."""
    edit_pipeline(pipeline, lambda t: [t, check] if isinstance(t, AnyLoadAnnotations) else [t])


def cache_loading(
    pipeline: Compose, paths: Sequence[str], max_bytes: int, fixed: Sequence[Transform] = ()
) -> None:
    """Keep the results of a pipeline's beginning in memory, up to its first random transform.

    If a ``Resize`` follows loading at once, the resized arrays are kept: large photographs then
    take the memory of small ones.

    Args:
        pipeline: Pipeline of a data set; changed in place.
        paths: ``img_path`` of all images.
        max_bytes: Limit of the kept bytes.
        fixed: Further transforms without randomness.

    Raises:
        ValueError: The pipeline does not begin with ``LoadImageFromFile``.
    """
    # Exact types: a class derived from Resize may be random.
    steps = [type(t) in _FIXED or t in fixed for t in pipeline.transforms]
    end = steps.index(False) if False in steps else len(steps)
    head, rest = pipeline.transforms[:end], pipeline.transforms[end:]
    if not head or not isinstance(head[0], AnyLoadImageFromFile):
        raise ValueError("cache_images keeps loaded images; begin pipeline with LoadImageFromFile")
    pipeline.transforms = [CachedTransforms(head, SharedCache(paths, max_bytes)), *rest]
