"""Commands in README and documentation name files and options that there are.

The Python code of the pages runs by docs/conftest.py; `make docs` follows links to the end.
"""

import re
import shlex
from functools import cache

import pytest

from docs.generated_pages import find_sources

from .conftest import ROOT
from .tools.conftest import run_here

PAGES = [
    ROOT / "README.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if "generated" not in p.parts),
]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(page, language):
    """Find the code blocks of a page in one language."""
    return [code for kind, code in _BLOCK.findall(page.read_text()) if kind == language]


def commands(page):
    """Find the calls of tools on a page, each as words."""
    for code in blocks(page, "bash"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            tools = [i for i, word in enumerate(words) if word.startswith("tools/")]
            if tools:
                yield words[tools[0] :]


@cache
def help_of(tool):
    """The tool's own help."""
    result = run_here(tool, "--help")
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands(page):
    for tool, *words in commands(page):
        assert (ROOT / tool).is_file(), tool
        for word in words:
            if word.startswith("configs/"):
                assert (ROOT / word).is_file(), f"{tool} {word}"
            if tool.endswith(".py") and word.startswith("--") and tool != "tools/pretrain.py":
                assert re.search(rf"{word}\b", help_of(tool)), f"{tool} {word}"


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_links_to_pages_of_the_site(page):
    there = {*PAGES[1:], *find_sources().values()}
    for target in re.findall(r"\]\(([^)\s#]+\.md)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).resolve() in there, target


def test_python_code_of_readme_runs_in_a_page():
    pages = "".join(p.read_text() for p in PAGES[1:])
    found = blocks(PAGES[0], "python")
    assert found
    for code in found:
        assert code in pages, code
