"""Markdown tables, and numbers in their cells."""

from __future__ import annotations

import math
from collections.abc import Sequence


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table that reads well in a terminal and pastes into a document."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def number(value: float, form: str) -> str:
    """A number in a format such as ``'.3g'``, or a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:{form}}"


def megabytes(size: int | None) -> str:
    """Bytes as MB (10⁶) for a table."""
    return "?" if size is None else f"{size / 1e6:.0f}"
