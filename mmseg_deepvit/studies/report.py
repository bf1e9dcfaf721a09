"""Write a study's table and figure into the README.md of its folder, between two marks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from ..files import replacing
from .figure import draw_figure
from .study import Study
from .table import read_rows, study_table

#: The text between these lines is replaced; people write the rest of the file.
BEGIN = "<!-- made by tools/run_study.py, do not edit -->"
END = "<!-- end -->"


def write_report(study: Study, records: Mapping[str, dict[str, Any]]) -> str:
    """Make table and figure from the recorded runs, in README.md and study.png of the folder.

    Returns:
        The table.

    Raises:
        UserError: No run is recorded, or the file lacks one of the marks.
    """
    rows = read_rows(study, records)
    table = study_table(study, rows)
    drawn = draw_figure(study.folder / "study.png", study, rows)
    figure = f"\n\n![{study.title}](study.png)" if drawn else ""
    readme = study.folder / "README.md"
    text = readme.read_text() if readme.is_file() else f"# {study.title}\n\n{BEGIN}\n{END}\n"
    if text.count(BEGIN) != 1 or END not in text.split(BEGIN)[1]:
        raise UserError(f"{readme} needs the lines {BEGIN} and {END}: between them goes the table")
    before, rest = text.split(BEGIN)
    after = rest.split(END, 1)[1]
    with replacing(readme) as part:
        part.write_text(f"{before}{BEGIN}\n{table}{figure}\n{END}{after}")
    return table
