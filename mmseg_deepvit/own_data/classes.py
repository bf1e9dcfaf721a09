"""Derive classes from what masks hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..datasets.mask_values import Value, value_name
from ..datasets.pairs import name_some
from ..errors import UserError
from .label_tables import VOID, read_label_table
from .survey import MaskCounts, Survey

_COLOUR_LINES = "lines NAME RED GREEN BLUE"
_MOST_COLOURS = 32  # without names; more come from soft borders
#: Share of the pixels that smoothed borders may have.
_SOFT = 0.2


@dataclass
class Classes:
    """Classes and how masks write them.

    Attributes:
        labels: Values or colours (``'#rrggbb'``) of each class.
        ignore: Those of no class.
        shares: Share of each class in the pixels that are not ignored, in [0, 1].
        ignored: Share of ignored pixels in all.
        palette: RGB of each class where masks do not tell it by their own colours.
        notes: What was decided, for people.
    """

    labels: dict[str, list[Value]]
    ignore: list[Value] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    ignored: float = 0.0
    palette: list[list[int]] | None = None
    notes: list[str] = field(default_factory=list)


def derive_classes(
    survey: Survey,
    names: Sequence[str] | None = None,
    table_path: str | None = None,
    ignore: Sequence[str] | None = None,
) -> Classes:
    """Derive classes from the values or colours in masks.

    Args:
        survey: What masks hold.
        names: Names of the classes, in the order of their values.
        table_path: File of names and values or colours.
        ignore: Values or colours to ignore; None ignores 255 beside class indices, and what a table
            calls void.

    Raises:
        UserError: Names and values do not fit, or values are likely no classes.
    """
    if names and table_path:
        raise UserError("--classes and --labels both name classes; give one of them")
    if names and len(set(names)) < len(names):
        raise UserError(f"--classes names a class twice ({' '.join(names)}); give each once")
    given = [_parse(text) for text in ignore or ()]
    if table_path:
        classes = _from_table(survey, table_path, given, ignore is None)
    else:
        classes = _from_masks(survey, names, given, ignore is None)
    if len(classes.labels) < 2:
        raise UserError(
            f"masks hold {len(classes.labels)} class ({name_some(list(classes.labels))}) beside "
            "what is ignored; at least 2 are needed: look at the masks, or set --ignore and "
            "--classes"
        )
    _measure(classes, survey)
    return classes


def _from_table(survey: Survey, path: str, ignore: list[Value], void: bool) -> Classes:
    table = read_label_table(path)
    left_out = [name for name in table if void and name.lower() in VOID]
    ignore += [value for name in left_out for value in table.pop(name)]
    classes = Classes(table, ignore)
    if left_out:
        classes.notes.append(f"{', '.join(left_out)} of {path} is ignored")
    colours = [v for values in table.values() for v in values if isinstance(v, str)]
    if colours and not survey.is_coloured and set(survey.palette.values()) <= _greys():
        # Indices in the masks, and the colours of a picture: the lines are the indices.
        classes.palette = [list(bytes.fromhex(str(v[0])[1:])) for v in table.values()]
        classes.labels = {name: [i] for i, name in enumerate(table)}
        classes.ignore = [v for v in ignore if isinstance(v, int)]
        classes.notes.append(f"masks hold indices: class i is line i of {path}")
        if 255 in survey.values.pixels and void:
            classes.ignore.append(255)
    return classes


def _greys() -> set[int]:
    return {value * 0x010101 for value in range(256)}


def _from_masks(
    survey: Survey, names: Sequence[str] | None, ignore: list[Value], conventional: bool
) -> Classes:
    coloured = survey.is_coloured
    counts = survey.counts(coloured)
    if names is None and not coloured:
        _check_soft(counts)
    values = sorted(counts.pixels)
    notes = []
    others = [value for value in values if value != 255]
    # Indices follow each other; 0 and 128 are grey levels.
    if conventional and not coloured and len(others) < len(values) and _are_indices(others):
        ignore = [*ignore, 255]
        notes.append("255 is ignored, as is usual beside class indices (--ignore changes it)")
    found: list[Value] = [value_name(v, True) if coloured else v for v in values]
    found = [value for value in found if value not in ignore]
    # Black and one colour have an order that is plain; other colours have none.
    in_order = not coloured or (len(found) == 2 and found[0] == "#000000")
    if names is None:
        names = _default_names(found)
        how = "--classes names them" if in_order else f"--labels FILE names them: {_COLOUR_LINES}"
        notes.append(f"classes have made-up names: {name_some(names, 4)} ({how})")
    elif not in_order:
        raise UserError(
            f"--classes cannot tell which colour is which ({name_some([str(v) for v in found], 5)} "
            f"are in the masks); name them by --labels FILE, with {_COLOUR_LINES}"
        )
    if len(names) != len(found):
        raise UserError(
            f"--classes names {len(names)} classes and masks hold {len(found)} values "
            f"({name_some([str(v) for v in found], 12)}); name each, leave some out by --ignore, "
            "or merge some by --labels FILE"
        )
    if coloured and len(found) > _MOST_COLOURS and notes:
        raise UserError(
            f"masks hold {len(found)} colours ({name_some([str(v) for v in found], 4)}); name "
            f"the classes by --labels FILE, with {_COLOUR_LINES}"
        )
    classes = Classes({n: [v] for n, v in zip(names, found, strict=True)}, ignore, notes=notes)
    if not coloured and not set(survey.palette.values()) <= _greys():
        shown = [survey.palette.get(int(v), 0) for v in found]
        classes.palette = [[c >> 16, c >> 8 & 255, c & 255] for c in shown]
    return classes


def _are_indices(values: Sequence[int]) -> bool:
    return len(values) > 1 and max(values) < 2 * len(values)


def _default_names(values: Sequence[Value]) -> list[str]:
    if len(values) == 2 and values[0] == 0:
        return ["background", "foreground"]
    if values and isinstance(values[0], str):
        return [f"colour_{i}" for i in range(len(values))]
    return [f"class_{value}" for value in values]


def _check_soft(counts: MaskCounts) -> None:
    """Refuse masks whose borders were smoothed: two values and many rare ones between them."""
    if _are_indices(list(counts.pixels)):
        return
    total = sum(counts.pixels.values())
    (first, a), (second, b), *rest = [*counts.pixels.most_common(), (0, 0), (0, 0)][:9]
    rare = total - a - b
    between = [v for v, n in rest if n and min(first, second) < v < max(first, second)]
    if len(counts.pixels) > 8 and rare < _SOFT * total and len(between) > 4:
        raise UserError(
            f"masks hold {first} and {second}, and {len(counts.pixels) - 2} values between them in "
            f"{rare / total:.2%} of the pixels (as {counts.example[between[0]]}), as smoothed "
            "borders do; threshold the masks, or name the values by --labels FILE"
        )


def _measure(classes: Classes, survey: Survey) -> None:
    """Shares of the classes; every value must be a class or ignored."""
    named = [*classes.ignore, *(v for values in classes.labels.values() for v in values)]
    coloured = any(isinstance(value, str) for value in named)
    counts = survey.counts(coloured)
    owner = {_number(v): i for i, vs in enumerate(classes.labels.values()) for v in vs}
    owner |= {_number(v): -1 for v in classes.ignore}
    pixels = [0] * (len(classes.labels) + 1)
    total = sum(counts.pixels.values())
    for value, count in counts.pixels.items():
        if value not in owner:
            said = value_name(value, coloured)
            raise UserError(
                f"masks hold {said} in {count / total:.3%} of the pixels (as "
                f"{counts.example[value]}), which no class has; add it to --labels or --ignore"
            )
        pixels[owner[value]] += count
    labelled = sum(pixels[:-1])
    classes.shares = [count / (labelled or 1) for count in pixels[:-1]]
    classes.ignored = pixels[-1] / (total or 1)


def _number(value: Value) -> int:
    return int(value[1:], 16) if isinstance(value, str) else value


def _parse(text: str) -> Value:
    if text.isdecimal():
        return int(text)
    if len(text) == 7 and text.startswith("#"):
        return text.lower()
    raise UserError(f"--ignore takes values or colours '#rrggbb', got {text!r}; give those")
