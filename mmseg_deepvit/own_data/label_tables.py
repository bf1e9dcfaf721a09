"""Read tables that name the values or colours of masks: JSON, CSV and text files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..datasets.mask_values import Value
from ..errors import UserError, reason

#: Names of what is to be ignored.
VOID = frozenset({"void", "ignore", "ignored", "unlabelled", "unlabeled"})
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_FORMS = (
    'write lines NAME VALUE or NAME RED GREEN BLUE (.csv, .txt), or {"NAME": VALUE or "#rrggbb"} '
    "(.json)"
)


def read_label_table(path: str) -> dict[str, list[Value]]:
    """Read a table of names and values or colours.

    Args:
        path: A ``.json`` file with an object of names, or a list of objects with ``name`` and
            ``value``, ``id`` or ``color``; or a text file with a line for each value: a name and
            one number, three numbers or ``#rrggbb``, in any order, between commas, tabs or spaces.
            Lines without numbers are headers.

    Returns:
        Values, or colours as ``'#rrggbb'``, by name, in the file's order. Lines of one name are one
        class.

    Raises:
        UserError: The file cannot be read, or a line is none of these.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        is_json = Path(path).suffix.lower() == ".json"
        rows = list(_json_rows(json.loads(text)) if is_json else _text_rows(text))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--labels {path} cannot be read ({reason(error)}); {_FORMS}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"--labels {path}: {reason(error)}; {_FORMS}") from error
    if not rows:
        raise UserError(f"--labels {path} names no values; {_FORMS}")
    table: dict[str, list[Value]] = {}
    for name, value in rows:
        table.setdefault(name, []).append(value)
    return table


def _text_rows(text: str) -> Iterator[tuple[str, Value]]:
    for cells in (
        csv.reader(text.splitlines()) if "," in text else map(str.split, text.splitlines())
    ):
        words = [word for cell in cells for word in ([cell.strip()] if "," in text else [cell])]
        numbers = [int(word) for word in words if word.isdecimal()]
        colours = [word for word in words if _HEX.fullmatch(word)]
        name = " ".join(w for w in words if w and not w.isdecimal() and w not in colours)
        if not numbers and not colours:
            continue  # a header, or nothing
        if not name:
            raise ValueError(f"the line {' '.join(words)!r} has no name")
        yield name, _value(colours or numbers, name)


def _json_rows(content: Any) -> Iterator[tuple[str, Value]]:
    if isinstance(content, list):
        keys = ("color", "colour", "rgb", "value", "id", "index")
        for entry in content:
            found = [entry[key] for key in keys if entry.get(key) is not None]
            if not found:
                raise ValueError(f"{entry!r} has none of {', '.join(keys)}")
            yield str(entry["name"]), _value(found[0], entry["name"])
        return
    for name, given in content.items():
        nested = isinstance(given, list) and (len(given) != 3 or isinstance(given[0], list | str))
        for value in given if nested else [given]:
            yield str(name), _value(value, name)


def _value(given: Any, name: str) -> Value:
    """A value or a colour from a number, one to three numbers, or ``#rrggbb``."""
    if isinstance(given, str) and _HEX.fullmatch(given):
        return given.lower()
    numbers = given if isinstance(given, list) else [given]
    if len(numbers) == 1 and isinstance(numbers[0], str) and _HEX.fullmatch(numbers[0]):
        return numbers[0].lower()
    whole = all(isinstance(n, int) and n >= 0 for n in numbers)
    if whole and len(numbers) == 3 and max(numbers) < 256:
        return "#{:02x}{:02x}{:02x}".format(*numbers)
    if whole and len(numbers) == 1:
        return int(numbers[0])
    raise ValueError(f"{name} has {given!r}, which is no value and no colour")
