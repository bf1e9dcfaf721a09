"""A report of collapse: a table, figures, collapse.json, and a page that holds all of them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Template

from ..command_line import writing
from ..tables import markdown_table, number
from .collapse import SIMILAR_BLOCKS, SIMILAR_HEADS, Collapse
from .collapse_figures import draw_all

#: Columns of the table: measure, title, and the layers that count (their mean, or the last one).
_COLUMNS = (
    ("similarity_P_k1", "blocks, P", "mean"),
    ("similarity_A_k1", "blocks, A", "mean"),
    ("similar_blocks_P", f"similar blocks, P > {SIMILAR_BLOCKS}", "last"),
    ("similar_blocks_A", "the same, A", "last"),
    ("head_similarity_P", "heads, P", "mean"),
    ("head_similarity_A", "heads, A", "mean"),
    ("similar_heads_A", f"similar heads, A > {SIMILAR_HEADS}", "mean"),
    ("entropy", "entropy", "mean"),
    ("patch_similarity", "patches, last", "last"),
    ("effective_rank", "rank, last", "last"),
    ("high_frequency", "high frequencies, last", "last"),
)

_CAPTIONS = {
    "block_similarity": "Cosine similarity of each query's attention to that k blocks before "
    "(DeepViT, eq. 3). Near 1: deeper blocks repeat what shallower ones did.",
    "similar_blocks": f"Share of blocks whose map is more similar than {SIMILAR_BLOCKS} to that of "
    "the block before (DeepViT, figure 3).",
    "heads": "Similarity of two heads of the same block.",
    "last_heads": "Heads of the last block, any two of them.",
    "patches": "Mean absolute cosine similarity of two patches of an image (DiversePatch, eq. 1), "
    "effective rank of an image's tokens, and the share of their energy outside the mean token.",
    "entropy": "1: every query attends to all keys alike; 0: to a single one.",
    "cka": "Linear CKA of the patch tokens of any two blocks: 1 where one is the other, turned.",
}
_PAGE = Template(
    """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>Collapse</title>
<style>body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em}
img{max-width:100%}table{border-collapse:collapse;font-size:13px}
td,th{border:1px solid #ccc;padding:.3em .6em;text-align:right}td:first-child{text-align:left}
code{background:#f3f3f3;padding:.2em}</style>
<h1>Collapse of {{ models | join(", ") }}</h1>
<p><code>{{ command | join(" ") }}</code></p>
<ul>{% for key, value in settings.items() %}<li>{{ key }}: {{ value }}</li>{% endfor %}</ul>
<table><tr>{% for cell in header %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% for name, data in pictures.items() %}<h2>{{ name | replace("_", " ") }}</h2>
<p>{{ captions[name] }}</p><img alt="{{ name }}" src="data:image/png;base64,{{ data }}">
{% endfor %}</html>
""",
    autoescape=True,
)


def summary_table(found: Mapping[str, Collapse]) -> str:
    """A markdown table with a line for each model; similarities are means over blocks."""
    return markdown_table(*_summary(found))


def _summary(found: Mapping[str, Collapse]) -> tuple[list[str], list[list[object]]]:
    """Header and rows of the table."""
    header = ["model", "blocks", *(title for _, title, _ in _COLUMNS)]
    rows: list[list[object]] = []
    for name, one in found.items():
        cells = [number(_reduce(one.mean[measure], how), ".3g") for measure, _, how in _COLUMNS]
        rows.append([name, len(one.layers), *cells])
    return header, rows


def headline(one: Collapse) -> dict[str, float]:
    """The table's figures of a model by measure, without those that are nan."""
    values = {m: _reduce(one.mean[m], how) for m, _, how in _COLUMNS}
    return {measure: value for measure, value in values.items() if not np.isnan(value)}


def _reduce(values: np.ndarray, how: str) -> float:
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan")
    return float(values[-1] if how == "last" else values.mean())


def write_report(
    folder: Path, found: Mapping[str, Collapse], settings: Mapping[str, Any], command: Sequence[str]
) -> list[Path]:
    """Write collapse.json, the figures and report.html.

    Args:
        folder: Folder of the files; made if it is missing.
        found: Measures by the model's name.
        settings: Settings of the measurement, for the JSON and the page.
        command: Words of the command line.

    Returns:
        The files, the page last.

    Raises:
        UserError: The folder cannot be written to.
    """
    content = {**settings, "models": {name: one.to_json() for name, one in found.items()}}
    pictures = {}
    for name, figure in draw_all(found).items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        pictures[name] = buffer.getvalue()
    header, rows = _summary(found)
    page = _PAGE.render(
        models=list(found),
        command=command,
        settings=settings,
        header=header,
        rows=rows,
        captions=_CAPTIONS,
        pictures={name: base64.b64encode(data).decode() for name, data in pictures.items()},
    )
    files = {
        "collapse.json": (json.dumps(content, indent=1) + "\n").encode(),
        **{f"{name}.png": data for name, data in pictures.items()},
        "report.html": page.encode(),
    }
    for name, data in files.items():
        with writing(folder / name, "--out") as part:
            part.write_bytes(data)
    return [folder / name for name in files]
