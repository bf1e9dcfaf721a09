"""The page: its parts and what they do to each other. Each window has objects of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from nicegui import events, run, ui

from ..errors import UserError
from .block_panel import BlockPanel
from .collapse_panel import CollapsePanel
from .gallery import Gallery
from .image_panel import ImagePanel, SharesPanel
from .looking import ExploredModel
from .pictures import point_at
from .training_panel import TrainingPanel
from .uploads import read_upload
from .views import View

_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / "style.css").read_text(encoding="utf-8")
_SCRIPT = (_FOLDER / "drop.js").read_text(encoding="utf-8")


def build_page(model: ExploredModel, gallery: Gallery, folder: str | None) -> None:
    """Build the page for one window.

    Args:
        model: Model to explore.
        gallery: Sample images; the first one is opened.
        folder: Work dir of a run to follow; None leaves that tab out.
    """
    ui.add_css(_STYLE)
    ui.add_body_html(f"<script>{_SCRIPT}</script>")
    ui.colors(primary="#3b5bdb")
    window = Window(model, gallery, folder)
    if gallery.files:
        ui.timer(0, lambda: window.open_sample(0), once=True)


class Window:
    """State and elements of one window."""

    def __init__(self, model: ExploredModel, gallery: Gallery, folder: str | None) -> None:
        self._model = model
        self._gallery = gallery
        self._view: View | None = None
        self._turn = 0  # the last thing that was asked for; older answers are dropped
        _add_header(model)
        with ui.element("div").classes("board"):
            with ui.tabs().props("no-caps align=left dense inline-label") as tabs:
                image, collapse = ui.tab("Image"), ui.tab("Collapse")
                training = ui.tab("Training") if folder is not None else None
            with ui.element("div").classes("message").props("role=alert") as self._message:
                ui.icon("error_outline")
                self._said = ui.label()
            self._message.visible = False
            self._tabs = ui.tab_panels(tabs, value=image, on_change=self._show_collapse)
            self._tabs.props("keep-alive")
            with self._tabs:
                with ui.tab_panel(image), ui.element("div").classes("explore"):
                    self._add_image_tab()
                with ui.tab_panel(collapse):
                    self._collapse = CollapsePanel()
                if training is not None and folder is not None:
                    with ui.tab_panel(training):
                        TrainingPanel(folder)

    def _add_image_tab(self) -> None:
        with ui.element("div").classes("left"):
            self._busy = ui.linear_progress(show_value=False).props("indeterminate")
            self._busy.visible = False
            self._image = ImagePanel(
                self._gallery,
                self.move,
                self.open_upload,
                self._say,
                self.open_sample,
            )
        self._right = ui.element("div").classes("right")
        with self._right:
            self._shares = SharesPanel()
            self._blocks = BlockPanel(self._show_block)
        self._right.visible = False

    async def open_upload(self, upload: events.UploadEventArguments) -> None:
        """Show an uploaded image."""
        name, data = upload.file.name, await upload.file.read()
        await self._open(lambda: read_upload(data, name, self._model.decode), name)

    async def open_sample(self, index: int) -> None:
        """Show an image of the gallery."""
        await self._open(lambda: self._gallery.read(index), self._gallery.files[index].name)

    async def move(self, x: float, y: float) -> None:
        """Choose another point, in pixels of the large image."""
        view = self._view
        if view is not None:
            point = point_at(view.look, x, y)
            await self._ask(lambda: view.move(point), is_new=False)

    async def _open(self, read: Callable[[], np.ndarray], name: str) -> None:
        await self._ask(lambda: View.open(self._model, read(), name), is_new=True)

    async def _ask(self, compute: Callable[[], View], is_new: bool) -> None:
        """Compute a view in another thread, and show it unless something else was asked for."""
        self._turn += 1
        turn = self._turn
        self._busy.visible = True
        try:
            view = await run.io_bound(compute)
        except UserError as error:
            if turn == self._turn:
                self._busy.visible = False
                self._say(str(error))
            return
        if turn != self._turn or view is None:
            return
        self._busy.visible = self._message.visible = False
        self._view = view
        if is_new:
            self._image.show(view)
            self._shares.show(view)
            self._blocks.reset(view)
            self._right.visible = True
        self._image.mark(view)
        await self._show_block()
        await self._show_collapse()
        await run.io_bound(self._draw_ahead, view)

    def _draw_ahead(self, view: View) -> None:
        """Draw the other blocks, so that the slider finds them."""
        for block in range(view.num_blocks):
            if view is self._view:
                view.draw(block)

    async def _show_block(self) -> None:
        view, block = self._view, self._blocks.block
        if view is None:
            return
        await run.io_bound(view.draw, block)
        if view is self._view and block == self._blocks.block:
            self._blocks.show(view)

    async def _show_collapse(self) -> None:
        if self._tabs.value == "Collapse":
            await self._collapse.show(self._view)

    def _say(self, text: str) -> None:
        self._said.text = text
        self._message.visible = True


def _add_header(model: ExploredModel) -> None:
    with ui.element("header").classes("top"):
        ui.label("explorer").classes("brand")
        ui.label(model.title).classes("model")
        ui.label(f"{model.kind} on {model.device}").classes("quiet")
