"""Metadata of an exported file: the facts that prediction needs in addition to the graph."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import numpy as np

from ...datasets.bands import LoadBands
from ...errors import CheckpointError
from ...label_pictures import is_palette
from ...version import __version__
from ..arrays import RGB_CHANNELS
from ..regions import NAMES as REGION_RULES
from ..windows import WEIGHTS


@dataclass(frozen=True)
class Metadata:
    """Facts of an exported segmentor; the graph normalises, so mean and std only inform.

    Attributes:
        classes: Names of the classes.
        palette: RGB of each class, 0 to 255.
        input_size: Height and width of the input, in pixels; None for any.
        patch_size: Height and width of a patch; the graph pads other sizes to multiples.
        mean: Mean of each channel in ``model_order``, which the graph subtracts.
        std: Deviation of each channel in ``model_order``, by which the graph divides.
        align_corners: Whether logits are resized with aligned corners.
        threshold: Threshold for the sigmoid of a single logit; None if the largest logit wins.
        resize: ``scale`` (width, height) and ``keep_ratio`` of the config's test pipeline, or None.
        windows: ``crop_size`` and ``stride`` (height, width) of slide inference, and ``weights``
            if they are not constant; or None.
        padding: ``size`` (height, width) or ``size_divisor`` to which the resized image is padded
            below and on the right, and ``value`` of the padding in each channel; or None.
        regions: ``keep_largest_region`` and ``fill_holes`` of the config's test, if one is set.
        loading: ``bands`` and ``value_range`` of :class:`~mmseg_deepvit.datasets.bands.LoadBands`,
            which maps the range to 0 to 255; None where images have 8 bits in RGB.
        input_order: Order of the input's channels: ``'RGB'``, or ``'bands'``, that of ``loading``.
        input_range: Smallest and largest value of the input.
        model_order: Order of the channels inside the graph; ``'BGR'`` reverses the input's.
        version: Version of mmseg_deepvit.
    """

    classes: list[str]
    palette: list[list[int]]
    input_size: list[int] | None
    patch_size: list[int] | None
    mean: list[float]
    std: list[float]
    align_corners: bool
    threshold: float | None
    resize: dict[str, Any] | None
    windows: dict[str, Any] | None
    padding: dict[str, Any] | None = None
    regions: dict[str, Any] | None = None
    loading: dict[str, Any] | None = None
    # Readers that do not know `loading` refuse all but RGB.
    input_order: str = "RGB"
    input_range: tuple[int, int] = (0, 255)
    model_order: str = "RGB"
    version: str = __version__

    @property
    def channels(self) -> int:
        """Number of the input's channels."""
        return RGB_CHANNELS if self.loading is None else len(self.loading["bands"])

    @property
    def takes_every_image(self) -> bool:
        """Whether the config's test brings images to the file's size, or cuts them into windows.

        Images smaller than a window are the exception.
        """
        size, resize = self.input_size, self.resize
        if size is None or (self.windows and self.windows["crop_size"] == size):
            return True
        fixed = resize is not None and not resize["keep_ratio"] and self.padding is None
        return fixed and resize is not None and resize["scale"] == size[::-1]

    def to_strings(self) -> dict[str, str]:
        """Write each attribute as JSON."""
        return {k: json.dumps(v, ensure_ascii=False) for k, v in asdict(self).items()}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], path: str | os.PathLike[str]) -> Metadata:
        """Read the result of :meth:`to_strings`.

        Args:
            strings: JSON of each attribute, and other entries of the file.
            path: Path of the file, for errors.

        Raises:
            CheckpointError: An attribute is missing, no JSON, or has an invalid value.
        """
        try:
            # Files of older versions lack the attributes with defaults.
            named = [f.name for f in fields(cls) if f.name in strings or f.default is MISSING]
            found = cls(**{name: json.loads(strings[name]) for name in named})
            wrong = [name for name, valid in _VALID.items() if not valid(getattr(found, name))]
            wrong = wrong or found._contradictions()
            if wrong:
                raise ValueError(f"{wrong[0]} is damaged")
        except (KeyError, ValueError, RecursionError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(
                f"{path} lacks metadata for prediction ({said}); write it by tools/export.py"
            ) from error
        return found

    def _contradictions(self) -> list[str]:
        """Attributes, each valid alone, that do not fit the others."""
        padded = self.channels if self.padding is None else len(self.padding["value"])
        fits = {
            "palette": len(self.palette) == len(self.classes),
            "padding": padded == self.channels,
            "input_order": (self.input_order == "RGB") == (self.loading is None),
        }
        return [name for name, fit in fits.items() if not fit]


_LONGEST_SIDE = 32768  # pixels


def _is_size(value: Any) -> bool:
    integers = isinstance(value, list) and all(type(side) is int for side in value)
    return integers and len(value) == 2 and all(0 < side <= _LONGEST_SIDE for side in value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _is_loading(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"bands", "value_range"}:
        return False
    bands, ranges = value["bands"], value["value_range"]
    if not isinstance(bands, list) or not all(type(band) is int for band in bands):
        return False
    try:
        LoadBands(bands, ranges)
        return ranges is None or all(map(_is_number, np.ravel(ranges).tolist()))
    except (TypeError, ValueError):
        return False


def _is_resize(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"scale", "keep_ratio"}:
        return False
    scale, keeps_ratio = value["scale"], value["keep_ratio"]
    if keeps_ratio is True and isinstance(scale, list) and len(scale) == 2:
        # Configs write an unbounded side as a number like 10⁹.
        scale = [min(scale), min(scale)] if all(type(side) is int for side in scale) else None
    return isinstance(keeps_ratio, bool) and _is_size(scale)


def _is_padding(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_numbers(value.get("value")):
        return False
    if value.keys() == {"size", "value"}:
        return _is_size(value["size"])
    return value.keys() == {"size_divisor", "value"} and _is_size([value["size_divisor"]] * 2)


def _is_windows(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("weights", WEIGHTS[0]) not in WEIGHTS:
        return False
    sizes = {k: v for k, v in value.items() if k != "weights"}
    return sizes.keys() == {"crop_size", "stride"} and all(map(_is_size, sizes.values()))


def _is_regions(value: Any) -> bool:
    known = isinstance(value, dict) and value.keys() == set(REGION_RULES)
    return known and all(isinstance(rule, bool) for rule in value.values())


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(v, str) for v in value)


def _or_none(valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or valid(value)


#: Functions that tell whether a value is valid, by attribute.
_VALID: dict[str, Callable[[Any], bool]] = {
    "classes": _is_names,
    "palette": is_palette,
    "input_size": _or_none(_is_size),
    "align_corners": lambda value: isinstance(value, bool),
    "threshold": _or_none(_is_number),
    "resize": _or_none(_is_resize),
    "windows": _or_none(_is_windows),
    "padding": _or_none(_is_padding),
    "regions": _or_none(_is_regions),
    "loading": _or_none(_is_loading),
    "input_order": lambda value: value in ("RGB", "bands"),
    "input_range": lambda value: value == [0, 255],
}
