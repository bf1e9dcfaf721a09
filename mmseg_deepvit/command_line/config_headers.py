"""What the configs say of themselves in the comments they open with, as a page of all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..tables import markdown_table

#: How the data sets at the end of configs' names are called, in the order of the page.
_DATASETS = {
    "ade20k": "ADE20K",
    "cityscapes": "Cityscapes",
    "isic2018": "ISIC 2018",
    "demo": "Demo",
}
_FIELDS = ("Cost", "Result")
_INTRODUCTION = """\
# Configs

`{head}_{backbone}_{dataset}.py`, flat, over `_base_/`. Each begins with what it is, its paper, the
command that trains it, what it costs (`tools/get_flops.py`), and what came out. *Trained* means
here, with what is left of it in `results/`; *published* are figures of the papers, not of this
repository; the rest was built and shrunk for a step of training and a prediction, no more
(`pytest tests/test_configs.py`).

This page is made of those headers by `python tools/list_configs.py`.
"""


class Header(NamedTuple):
    """The comments at the top of a config.

    Attributes:
        name: The config's name without ending.
        title: What it is.
        cost: Parameters and operations.
        result: What came of it.
    """

    name: str
    title: str
    cost: str
    result: str

    @property
    def dataset(self) -> str:
        """The data set's key in the config's name."""
        return self.name.rpartition("_")[2].split("-")[0]

    @property
    def state(self) -> str:
        """One of trained, published, not trained."""
        if not self.result.startswith("not trained"):
            return "trained"
        return "published" if "published" in self.result else "not trained"


def read_header(path: Path) -> Header:
    """Read a config's header.

    Raises:
        UserError: A line that each has to have is missing.
    """
    comments = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comments.append(line[1:].strip())
    found, key = {"title": ""}, "title"
    for comment in comments:
        if field := re.match(r"(\w+): +(.+)", comment):
            key, comment = field.groups()
        found[key] = f"{found.get(key, '')} {comment}".strip()
    for key in _FIELDS:
        if key not in found:
            raise UserError(f"config {path} has no line '# {key}:' in the comments it opens with")
    return Header(path.stem, found["title"], found["Cost"], found["Result"])


def page_of_configs(paths: Iterable[Path]) -> str:
    """A page with a table for each data set.

    Raises:
        UserError: A config lacks a line, or its name ends with an unknown data set.
    """
    headers = [read_header(path) for path in sorted(paths)]
    for header in headers:
        if header.dataset not in _DATASETS:
            raise UserError(f"config {header.name} ends with none of {', '.join(_DATASETS)}")
    parts = [_INTRODUCTION]
    for key, name in _DATASETS.items():
        rows = [
            [f"[{h.name}]({h.name}.py)", h.cost, h.state, _linked(_told(h.result))]
            for h in headers
            if h.dataset == key
        ]
        if rows:
            parts += [
                f"## {name}\n",
                markdown_table(["config", "cost", "state", "result"], rows),
                "",
            ]
    return "\n".join(parts)


def _told(result: str) -> str:
    """What is said beside that it was not trained, which the column before says."""
    return re.sub(r"^not trained here[;.]? *", "", result)


def _linked(result: str) -> str:
    """Paths of results as links from the configs' folder."""
    return re.sub(r"results/[\w./-]+\.md", lambda m: f"[{m[0]}](../{m[0]})", result)
