"""The tab of collapse: measures over the blocks, as means over the window's images."""

from __future__ import annotations

import zlib

from nicegui import run, ui

from ..analysis.collapse import Collapse
from ..errors import UserError
from .charts import collapse_charts
from .views import View

_MOST_IMAGES = 8
_WAITING = "Open an image to see how alike the blocks, heads and patches of this model are."


class CollapsePanel:
    """Builds the elements at the place where it is made; :meth:`show` measures and draws."""

    def __init__(self) -> None:
        self._measured: dict[tuple[str, int], Collapse] = {}
        with ui.element("div").classes("line"):
            self._about = ui.label(_WAITING).classes("note")
            self._busy = ui.spinner(size="1.5em")
        self._busy.visible = False
        self._grid = ui.element("div").classes("charts")
        self._charts: list[ui.echart] = []

    async def show(self, view: View | None) -> None:
        """Measure a view's image, unless it is measured already, and draw all images' means."""
        if view is None:
            return
        key = view.look.name, zlib.crc32(view.look.entered.images.cpu().numpy().tobytes())
        if key not in self._measured:
            self._busy.visible = True
            try:
                found = await run.io_bound(view.model.measure, view.look)
            except UserError as error:
                self._about.text = str(error)
                return
            finally:
                self._busy.visible = False
            assert found is not None
            self._measured[key] = found
            while len(self._measured) > _MOST_IMAGES:
                self._measured.pop(next(iter(self._measured)))
        names = [name for name, _ in self._measured]
        count = "1 image" if len(names) == 1 else f"the mean of {len(names)} images"
        self._about.text = f"{view.model.title}, {count}: {', '.join(names)}"
        self._draw(list(self._measured.values()))

    def _draw(self, found: list[Collapse]) -> None:
        charts = collapse_charts(found)
        if not self._charts:
            with self._grid:
                for panel, options in charts:
                    with ui.element("section").classes("card"):
                        ui.label(panel.title).classes("title")
                        ui.label(panel.meaning).classes("quiet")
                        self._charts.append(ui.echart(options).classes("chart"))
            return
        for chart, (_, options) in zip(self._charts, charts, strict=True):
            chart.options.clear()
            chart.options.update(options)
