"""The right side of the page: attention of the point, and the tokens' colours, block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from .pictures import HeadPictures
from .views import View

_NO_ATTENTION = (
    "{} has no attention from every patch to every patch, as in windows or with fewer keys, so "
    "none is shown for a point. The tokens' colours are below."
)
_NOT_MIXED = "This block mixes no heads: what meets the values is P itself."


class HeadRow:
    """Pictures of all heads of one kind of map, with their scale.

    Args:
        title: Title of the row.
        subtitle: What the maps are.

    Attributes:
        root: Element that holds the row.
    """

    def __init__(self, title: str, subtitle: str) -> None:
        self.root = ui.element("div").classes("maps")
        with self.root:
            with ui.element("div").classes("line"):
                with ui.element("div"):
                    ui.label(title).classes("title")
                    ui.label(subtitle).classes("quiet")
                self._scale = ui.element("div").classes("scale")
                with self._scale:
                    self._low = ui.label()
                    self._bar = ui.element("div")
                    self._high = ui.label()
            self._note = ui.label(_NOT_MIXED).classes("note")
            self._figures = ui.element("div").classes("heads")
        self._cells: list[tuple[ui.element, ui.label]] = []

    def show(self, heads: HeadPictures | None) -> None:
        """Show the heads; None says that the block mixes none."""
        self._note.visible = heads is None
        self._figures.visible = self._scale.visible = heads is not None
        if heads is None:
            return
        if len(self._cells) != len(heads.pictures):
            self._build(len(heads.pictures))
        cells = zip(self._cells, heads.pictures, heads.captions, strict=True)
        for (image, caption), picture, text in cells:
            image.props["src"] = picture
            caption.text = text
        self._low.text, self._high.text = f"{heads.low:.2g}", f"{heads.high:.2g}"
        self._bar.style(f"background:linear-gradient(90deg,{','.join(heads.colours)})")

    def _build(self, count: int) -> None:
        self._figures.clear()
        self._figures.classes("fours" if count % 4 == 0 else "", remove="fours")
        self._cells = []
        with self._figures:
            for head in range(count):
                with ui.element("figure"):
                    image = ui.element("img").props(f'alt="head {head}" draggable=false')
                    self._cells.append((image, ui.label()))


class BlockPanel:
    """Builds the elements at the place where it is made.

    Args:
        on_block: Called when the slider moves.
    """

    def __init__(self, on_block: Callable[[], Any]) -> None:
        with ui.element("section").classes("card blocks"):
            with ui.element("div").classes("line"):
                self._title = ui.label().classes("title")
                self._where = ui.label().classes("quiet")
            self._slider = ui.slider(min=0, max=1, value=0, on_change=on_block)
            self._slider.props('snap markers aria-label="block"')
        with ui.element("section").classes("card"):
            self._none = ui.label().classes("note")
            self._before = HeadRow(
                "Before mixing: P", "What each head attends to, after the softmax"
            )
            self._after = HeadRow("After mixing: A", "The mixed maps, which meet the values")
        with ui.element("section").classes("card tokens"):
            self._tokens = ui.element("img").props('alt="tokens" draggable=false')
            with ui.element("div"):
                ui.label("Tokens as colours").classes("title")
                self._layer = ui.label().classes("quiet")
                ui.label(
                    "Red, green and blue are the first three principal components of the block's "
                    "patch tokens. Patches of one colour have similar tokens."
                ).classes("quiet")

    @property
    def block(self) -> int:
        """Block that the slider stands at, from 0."""
        return int(self._slider.value or 0)

    def reset(self, view: View) -> None:
        """Fit the slider to a view's model; it starts in the middle of the depth."""
        last = view.num_blocks - 1
        if self._slider.props["max"] != last or not self._title.text:
            self._slider.props["max"] = last
            self._slider.value = view.num_blocks // 2
        self._slider.visible = last > 0

    def show(self, view: View) -> None:
        """Show the pictures of the slider's block."""
        pictures = view.draw(self.block)
        unit = "Block" if view.rows is not None else "Layer"
        self._title.text = f"{unit} {self.block}, of 0 to {view.num_blocks - 1}"
        row, column = view.patch
        self._where.text = f"patch in row {row}, column {column}"
        self._none.visible = view.rows is None
        self._none.text = _NO_ATTENTION.format(view.model.kind)
        self._before.root.visible = self._after.root.visible = view.rows is not None
        if view.rows is not None:
            self._before.show(pictures.before)
            self._after.show(pictures.after)
        self._tokens.props["src"] = pictures.tokens
        shares = " + ".join(f"{100 * share:.0f}" for share in pictures.shares)
        self._layer.text = f"{pictures.layer}: {shares} % of the variance"
