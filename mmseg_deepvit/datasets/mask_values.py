"""What masks hold, values or colours, as classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from .damage import NO_CLASS, DataError, data_error
from .decoding import decode_colours, decode_written
from .pairs import name_some

#: A value of a mask, or a colour as ``'#rrggbb'``.
Value = int | str
#: Label of ignored pixels.
IGNORED = 255
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_LARGEST = 2**32 - 1
#: Names of classes, in lower case, that stand for what no other class is; ``class_0`` is the name
#: that ``tools/new_config.py`` makes up.
_BACKGROUNDS = frozenset(
    ("background", "bg", "class_0", "empty", "none", "nothing", "other", "others", "rest", "void")
)


class MaskValues:
    """Table from the values or colours in masks to classes.

    Args:
        labels: For each class, in their order, its value (0 to 2³² - 1) or colour (``'#rrggbb'``),
            or several of them. A table has either values or colours.
        ignore: Values or colours of pixels that count nowhere.

    Attributes:
        classes: Names of the classes.
        is_coloured: Whether the table has colours.

    Raises:
        ValueError: A value is neither, belongs to two classes, values and colours are mixed, or
            there are no classes or more than 255.

    Example:
        >>> values = MaskValues({'background': 0, 'lesion': [1, 255]})
        >>> colours = {'road': '#804080', 'car': ['#400080', '#4000c0']}
        >>> values = MaskValues(colours, ignore=['#000000'])
    """

    def __init__(
        self, labels: Mapping[str, Value | Sequence[Value]], ignore: Sequence[Value] = ()
    ) -> None:
        self.classes = tuple(labels)
        if not 1 <= len(self.classes) <= IGNORED:
            raise ValueError(f"labels must name 1 to {IGNORED} classes, got {len(self.classes)}")
        owners = [(v, i) for i, given in enumerate(labels.values()) for v in values_of(given)]
        owners += [(v, IGNORED) for v in values_of(ignore)]
        self.is_coloured = any(isinstance(value, str) for value, _ in owners)
        table: dict[int, int] = {}
        for value, label in owners:
            number = self._number(value)
            if table.get(number, label) != label:
                names = [self._owner(table[number]), self._owner(label)]
                raise ValueError(f"labels give {value!r} to {names[0]} and {names[1]}; give one")
            table[number] = label
        self._values = np.array(sorted(table), dtype=np.int64)
        self._labels = np.array([table[v] for v in sorted(table)], dtype=np.uint8)
        self._first = [next(iter(values_of(given)), "#808080") for given in labels.values()]

    def palette(self) -> list[list[int]]:
        """RGB of each class, 0 to 255: its own colour, or one of a row.

        The value 0 is black, which pictures leave unpainted, where its class is one of two or is
        named as a background.
        """
        if self.is_coloured:
            return [list(bytes.fromhex(str(colour)[1:])) for colour in self._first]
        names = [name.lower() for name in self.classes]
        return [
            [0, 0, 0]
            if value == 0 and (len(names) == 2 or names[i] in _BACKGROUNDS)
            else distinct_colour(i)
            for i, value in enumerate(self._first)
        ]

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """Decode a mask.

        Args:
            data: Content of the file.
            path: Path of the file, for errors.

        Returns:
            Class indices, (H, W), uint8, 255 where ignored.

        Raises:
            DataError: The file is no mask, or holds a value that is in no class and not ignored.
        """
        decode = decode_colour_numbers if self.is_coloured else decode_values
        values = decode(data, path)
        places = np.searchsorted(self._values, values).clip(max=len(self._values) - 1)
        unknown = self._values[places] != values
        if unknown.any():
            raise self._unknown(values[unknown], path)
        found: np.ndarray = self._labels[places]
        return found

    def _number(self, value: Value) -> int:
        if isinstance(value, str) and _COLOUR.fullmatch(value):
            return int(value[1:], 16)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or not 0 <= int(value) <= _LARGEST or self.is_coloured:
            wanted = "colours '#rrggbb' alone" if self.is_coloured else "numbers from 0 on"
            raise ValueError(f"labels and ignore must hold {wanted}, got {value!r}")
        return int(value)

    def _owner(self, label: int) -> str:
        return "ignore" if label == IGNORED else self.classes[label]

    def _unknown(self, values: np.ndarray, path: str) -> DataError:
        found = [value_name(v, self.is_coloured) for v in np.unique(values).tolist()]
        return data_error(
            path,
            f"holds {name_some(found)} in {len(values)} pixels, which no class has",
            "add it to labels or to ignore, or correct the mask",
            NO_CLASS,
        )


def values_of(given: Value | Sequence[Value]) -> list[Value]:
    """One value or several as a list."""
    return [given] if isinstance(given, int | str) else list(given)


def value_name(number: int, is_coloured: bool) -> str:
    """A value as people write it: a number, or a colour's ``#rrggbb``."""
    return f"#{number:06x}" if is_coloured else str(number)


def decode_values(data: bytes, path: str) -> np.ndarray:
    """Decode a mask of values.

    Grey saved as RGB counts as grey, and transparency is dropped.

    Returns:
        (H, W), int64; indices of a palette.

    Raises:
        DataError: The file is no mask, or holds colours, fractions or negative values.
    """
    pixels = decode_written(data, path)
    if pixels.ndim == 3:
        colours = pixels[..., : 3 if pixels.shape[2] > 2 else 1]
        if (colours != colours[..., :1]).any():
            said = "holds colours, and the classes have values"
            raise data_error(path, said, "give labels colours ('#rrggbb')", NO_CLASS)
        pixels = colours[..., 0]
    if pixels.dtype.kind == "f" and not np.array_equal(pixels, np.rint(pixels)):
        said = "holds fractions"
        raise data_error(path, said, "save the mask as class indices", NO_CLASS)
    values: np.ndarray = pixels.astype(np.int64)
    if values.min(initial=0) < 0:
        said = f"holds {values.min()}"
        raise data_error(path, said, "save the mask with values from 0 on", NO_CLASS)
    return values


def decode_colour_numbers(data: bytes, path: str) -> np.ndarray:
    """Decode a mask of colours, those of a palette too.

    Returns:
        (H, W), int64: red · 2¹⁶ + green · 2⁸ + blue.

    Raises:
        DataError: The file is no mask with 8 bits a channel.
    """
    red, green, blue = np.moveaxis(decode_colours(data, path).astype(np.int64), -1, 0)
    numbers: np.ndarray = red << 16 | green << 8 | blue
    return numbers


def distinct_colour(number: int) -> list[int]:
    """RGB of the number-th of a row of colours that differ well: hues by the golden ratio."""
    hue = number * 0.618034 % 1 * 6
    level = (1.0, 0.72)[number // 8 % 2]
    rgb = [max(0.0, min(1.0, abs((hue - shift) % 6 - 3) - 1)) for shift in (0, 2, 4)]
    return [round(255 * level * (0.25 + 0.75 * value)) for value in rgb]
