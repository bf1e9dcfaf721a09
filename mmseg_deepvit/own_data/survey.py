"""Read pairs of images and masks, and count what they hold."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..datasets.bands import decode_bands
from ..datasets.damage import check_same_size
from ..datasets.decoding import decode_colours, decode_written
from ..datasets.transforms import read_bytes
from ..errors import UserError
from .band_statistics import BandStatistics

#: More different values than that are no classes.
MOST_VALUES = 255
Progress = Callable[..., Iterable[Any]]


@dataclass
class MaskCounts:
    """Pixels of masks by what is written in them.

    Attributes:
        pixels: Number of pixels of each value, or colour (red · 2¹⁶ + green · 2⁸ + blue), in the
            training masks; 0 for what validation alone holds.
        files: Number of files that hold it.
        example: A file that holds it.
    """

    pixels: Counter[int] = field(default_factory=Counter)
    files: Counter[int] = field(default_factory=Counter)
    example: dict[int, str] = field(default_factory=dict)

    def add(self, numbers: np.ndarray, path: str, is_training: bool) -> None:
        """Count a mask, (H, W), of integers."""
        values, counts = np.unique(numbers, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self.pixels[value] += count if is_training else 0
            self.files[value] += 1
            self.example.setdefault(value, path)


@dataclass
class Survey:
    """What pairs of images and masks hold.

    Attributes:
        num_images: Number of images by part.
        num_read: Number of pairs that were read, of training and validation.
        sizes: Number of images of each (height, width).
        types: Number of images of each type and number of bands.
        bands: Statistics of the bands of the training images that were read.
        values: Counts of the values in masks, indices of palettes.
        colours: Counts of the colours in masks, those of palettes and grey included.
        is_coloured: Whether some mask holds colours that are neither grey nor a palette's.
        palette: RGB by index, of masks with one palette; else empty.
    """

    num_images: dict[str, int] = field(default_factory=dict)
    num_read: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    types: Counter[tuple[str, int]] = field(default_factory=Counter)
    bands: BandStatistics = field(default_factory=BandStatistics)
    values: MaskCounts = field(default_factory=MaskCounts)
    colours: MaskCounts = field(default_factory=MaskCounts)
    is_coloured: bool = False
    palette: dict[int, int] = field(default_factory=dict)

    @property
    def is_common(self) -> bool:
        """Whether all images are what ``LoadImageFromFile`` takes: 8 bits, grey, RGB or RGBA."""
        return all(kind == "uint8" and bands <= 4 for kind, bands in self.types)

    def add(self, image_path: str, mask_path: str, is_training: bool) -> None:
        """Read a pair.

        Raises:
            DataError: A file cannot be read, or the mask has another size than its image.
        """
        image = decode_bands(read_bytes(image_path), image_path)
        data = read_bytes(mask_path)
        written = decode_written(data, mask_path)
        size = (image.shape[0], image.shape[1])
        check_same_size(
            written[..., 0] if written.ndim == 3 else written, mask_path, size, image_path
        )
        self.num_read += 1
        self.sizes[size] += 1
        self.types[str(image.dtype), image.shape[2]] += 1
        if is_training:
            self.bands.add(image)
        self._count_mask(written, data, mask_path, is_training)

    def _count_mask(self, written: np.ndarray, data: bytes, path: str, is_training: bool) -> None:
        colours = None
        if written.dtype == np.uint8:
            red, green, blue = np.moveaxis(decode_colours(data, path).astype(np.int64), -1, 0)
            colours = red << 16 | green << 8 | blue
            self.colours.add(colours, path, is_training)
        grey = written if written.ndim == 2 else written[..., 0]
        parts = written[..., :3] if written.ndim == 3 and written.shape[2] > 2 else grey[..., None]
        if (parts != parts[..., :1]).any():
            self.is_coloured = True
            if len(self.colours.pixels) > 16 * MOST_VALUES:
                raise _too_many(len(self.colours.pixels), "colours", path)
            return
        if grey.dtype.kind == "f" and not np.array_equal(grey, np.rint(grey)):
            raise UserError(f"mask {path} holds fractions; save masks as class indices or colours")
        self.values.add(grey.astype(np.int64), path, is_training)
        if len(self.values.pixels) > 16 * MOST_VALUES:
            raise _too_many(len(self.values.pixels), "values", path)
        if written.ndim == 2 and colours is not None:
            seen, first = np.unique(grey, return_index=True)
            self.palette.update(zip(seen.tolist(), colours.ravel()[first].tolist(), strict=True))

    def counts(self, is_coloured: bool) -> MaskCounts:
        """Counts of values or of colours.

        Raises:
            UserError: There are too many different ones for classes.
        """
        counts = self.colours if is_coloured else self.values
        what = "colours" if is_coloured else "values"
        if len(counts.pixels) > MOST_VALUES:
            raise _too_many(len(counts.pixels), what, next(iter(counts.example.values())))
        return counts


def survey_pairs(
    parts: Mapping[str, Sequence[tuple[str, str]]],
    most: int | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Read the pairs of training and validation.

    Args:
        parts: Paths of images and masks by part.
        most: Largest number of pairs to read of each part; None reads all. A hash of the names
            chooses them.
        progress: Wrapper of the iteration, such as ``rich.progress.track``.

    Raises:
        DataError: A file cannot be read or does not fit its partner.
        UserError: Images differ in their bands, or masks hold too many values.
    """
    survey = Survey({part: len(pairs) for part, pairs in parts.items()})
    chosen = [
        (part, *pair)
        for part in ("train", "val")
        for pair in choose_pairs(parts.get(part, ()), most)
    ]
    for part, image, mask in progress(chosen, total=len(chosen)) if progress else chosen:
        survey.add(image, mask, is_training=part == "train")
        if not survey.is_common and len(survey.types) > 1:
            kinds = ", ".join(f"{kind} × {bands}" for kind, bands in survey.types)
            raise UserError(
                f"images differ in type or number of bands ({kinds}; the last is {image}); convert "
                "them to one, or name a folder of one kind by --images"
            )
    return survey


def choose_pairs(pairs: Sequence[tuple[str, str]], most: int | None) -> list[tuple[str, str]]:
    """Some of the pairs, by a hash of the images' names, in their order."""
    if most is None or len(pairs) <= most:
        return list(pairs)
    by_hash = sorted(pairs, key=lambda pair: hashlib.sha256(pair[0].encode()).digest())
    kept = set(by_hash[:most])
    return [pair for pair in pairs if pair in kept]


def _too_many(count: int, what: str, path: str) -> UserError:
    return UserError(
        f"masks hold {count} different {what}, more than the {MOST_VALUES} that classes can have "
        f"(as {path}); save them as class indices, or name the folder of the masks by --masks"
    )
