"""Pages made of files that the repository has anyway: studies, configs, notebooks.

A Sphinx extension. It writes `generated/` before Sphinx reads the pages. A link from one such file
to another becomes a link between their pages. Pictures stay where they are. Of links to other files
of the repository the text remains, since the site does not hold these files.
"""

import os.path as osp
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = Path(__file__).parent / "generated"
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_PICTURES = {".jpg", ".png"}
#: The space within a score and its interval, or a list of scores.
_WITHIN_SCORES = re.compile(r"(?<=[\d,\]]) (?=[\[(+\-\d])")


def find_sources() -> dict[Path, Path]:
    """List the files that become pages.

    Returns:
        Page of each file, both as absolute paths.
    """
    pages = {
        ROOT / "configs" / "README.md": PAGES / "model-zoo.md",
        ROOT / "CONTRIBUTING.md": PAGES / "contribute.md",
        ROOT / "CHANGELOG.md": PAGES / "changelog.md",
        ROOT / "SECURITY.md": PAGES / "security.md",
    }
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        pages[notebook] = PAGES / "examples" / notebook.name
    for study in sorted((ROOT / "results").glob("*/README.md")):
        pages[study] = PAGES / "results" / f"{study.parent.name}.md"
    return pages


def move_links(text: str, source: Path, pages: dict[Path, Path]) -> str:
    """Make the links of a file those of its page.

    Args:
        text: Markdown.
        source: Path of the file.
        pages: Page of each file that has one.

    Returns:
        Markdown for the page.

    Raises:
        FileNotFoundError: A link names a file that is not there.
    """
    here = pages[source].parent

    def move(link: re.Match[str]) -> str:
        mark, said, target = link.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return link[0]
        path, _, anchor = target.partition("#")
        file = (source.parent / path).resolve()
        if not file.exists():
            raise FileNotFoundError(f"{source} links to {target}, which is not there")
        if file.is_dir() and (file / "README.md") in pages:
            file /= "README.md"
        if file in pages or file.suffix in _PICTURES:
            where = Path(osp.relpath(pages.get(file, file), here)).as_posix()
            return f"{mark}[{move_links(said, source, pages)}]({where}{anchor and '#' + anchor})"
        return said

    return _LINK.sub(move, text)


def keep_scores_together(text: str) -> str:
    """Forbid line breaks within the scores of tables."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if line.startswith("|"):
            lines[i] = _WITHIN_SCORES.sub("\N{NO-BREAK SPACE}", line)
    return "\n".join(lines)


def write_pages(app: object = None) -> None:
    """Write all pages; files that are as they should be are left alone, so builds are short."""
    pages = find_sources()
    for source, page in pages.items():
        text = source.read_text(encoding="utf-8")
        if source.suffix == ".md":
            text = move_links(text, source, pages)
        if page.parent == PAGES / "results":
            text = keep_scores_together(text)
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
    for page in PAGES.rglob("*.*"):
        if page not in pages.values():
            page.unlink()


def setup(app: object) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_pages)  # type: ignore[attr-defined]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
