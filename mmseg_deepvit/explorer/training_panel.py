"""The tab of training: curves of a run's work dir, read again while the run writes them."""

from __future__ import annotations

import time
from pathlib import Path

from nicegui import run, ui

from ..analysis.training_log import TrainingLog, find_logs, read_log
from ..errors import UserError
from .charts import GROUPS, RunChart, training_charts

_SECONDS = 2.0  # between two looks at the files


class TrainingPanel:
    """Builds the elements at the place where it is made, and follows the run.

    Args:
        folder: Work dir of the run.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._seen: list[tuple[int, int]] | None = None
        self._charts: dict[str, tuple[ui.label, ui.echart]] = {}
        self._groups: dict[str, tuple[ui.element, ui.element]] = {}
        with ui.element("div").classes("line"):
            self._about = ui.label(f"Looking for the log of {folder}").classes("note")
            self._age = ui.label().classes("quiet")
        for group in reversed(GROUPS):
            with ui.element("section").classes("group") as section:
                ui.label(group).classes("heading")
                grid = ui.element("div").classes("charts")
            section.visible = False
            self._groups[group] = section, grid
        ui.timer(_SECONDS, self.refresh)

    async def refresh(self) -> None:
        """Read the run's files if they have changed, and draw the curves."""
        try:
            logs = find_logs(self._folder)
            stats = [file.stat() for file in logs]
            self._age.text = _age(time.time() - max(stat.st_mtime for stat in stats))
            seen = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
            if seen == self._seen:
                return
            log = await run.io_bound(read_log, self._folder)
        except (UserError, OSError) as error:
            self._about.text = f"{error}. The page looks again every {_SECONDS:.0f} seconds."
            return
        assert log is not None
        self._seen = seen
        self._draw(log)

    def _draw(self, log: TrainingLog) -> None:
        last = max(curve[-1][0] for curve in (*log.training.values(), *log.metrics.values()))
        name = Path(self._folder).resolve().name
        self._about.text = " · ".join([f"{name}, iteration {last}", *log.notes])
        for key, chart in training_charts(log).items():
            if key not in self._charts:
                self._add(key, chart)
            summary, drawn = self._charts[key]
            summary.text = chart.summary
            drawn.options.clear()
            drawn.options.update(chart.options)

    def _add(self, key: str, chart: RunChart) -> None:
        section, grid = self._groups[chart.group]
        section.visible = True
        with grid, ui.element("section").classes("card"):
            ui.label(chart.title).classes("title")
            self._charts[key] = ui.label().classes("quiet"), ui.echart({}).classes("chart")


def _age(seconds: float) -> str:
    """How long ago the log was written to."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"last entry {seconds / length:.0f} {unit} ago"
    return f"last entry {max(seconds, 0):.0f} s ago"
