"""The left side of the page: the image to click on, the place to drop one, the sample images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import events, ui

from .gallery import Gallery
from .pictures import draw_image, draw_prediction, frame_svg
from .uploads import MOST_BYTES
from .views import View

_PREDICTION, _IMAGE = "prediction", "image"
_TOO_LARGE = f"the file is larger than {MOST_BYTES // 2**20} MiB; scale the image down"
_NOT_SENT = "the file did not arrive; drop it again"
_HINT = "Drop an image anywhere on this page, or"


class ImagePanel:
    """Builds the elements at the place where it is made.

    Args:
        gallery: Sample images.
        on_point: Called with x and y of a click, in pixels of the large image.
        on_upload: Called with an uploaded file.
        on_refused: Called with a message when the browser refuses a file, or cannot send it.
        on_sample: Called with the index of a sample image.
    """

    def __init__(
        self,
        gallery: Gallery,
        on_point: Callable[[float, float], Any],
        on_upload: Callable[[events.UploadEventArguments], Any],
        on_refused: Callable[[str], Any],
        on_sample: Callable[[int], Any],
    ) -> None:
        self._sources: dict[str, str] = {}
        with ui.element("section").classes("card"):
            self._empty = ui.label("No image yet").classes("empty")
            self._image = ui.interactive_image(
                on_mouse=lambda e: on_point(e.image_x, e.image_y), cross=False, sanitize=False
            ).classes("image")
            self._image.visible = False
            with ui.element("div").classes("line"):
                self._name = ui.label().classes("name")
                choices = [_PREDICTION, _IMAGE]
                self._layer = ui.toggle(choices, value=_PREDICTION, on_change=self._choose)
                self._layer.props(
                    'no-caps unelevated dense toggle-color=primary padding="2px 10px"'
                )
            self._size = ui.label().classes("quiet")
            self._add_upload(on_upload, on_refused)
        if gallery.files:
            _add_gallery(gallery, on_sample)

    def show(self, view: View) -> None:
        """Show a view's image and point."""
        look = view.look
        self._sources = {_PREDICTION: draw_prediction(view.model, look), _IMAGE: draw_image(look)}
        self._empty.visible, self._image.visible = False, True
        self._choose()
        self.mark(view)
        self._name.text = look.name
        height, width = look.full_size
        size = f"{width} × {height} pixels"
        if look.picture.shape[:2] != look.full_size:
            size += f", scaled to {look.picture.shape[1]} × {look.picture.shape[0]} for the model"
        self._size.text = size

    def mark(self, view: View) -> None:
        """Frame the patch of a view's point."""
        self._image.content = frame_svg(view.look, view.point)

    def _choose(self) -> None:
        if self._sources:
            self._image.source = self._sources[self._layer.value or _PREDICTION]

    def _add_upload(
        self,
        on_upload: Callable[[events.UploadEventArguments], Any],
        on_refused: Callable[[str], Any],
    ) -> None:
        upload = ui.upload(
            on_upload=on_upload,
            on_rejected=lambda: on_refused(_TOO_LARGE),
            max_file_size=MOST_BYTES,
            auto_upload=True,
        )
        upload.on("failed", lambda: on_refused(_NOT_SENT), args=[])
        upload.classes("uploader")
        # A file of the same name can be chosen again.
        upload.on("finish", upload.reset, args=[])
        with ui.element("div").classes("drop"):
            ui.label(_HINT)
            choose = ui.button("choose a file").props("no-caps unelevated dense color=primary")
            choose.on("click", js_handler=f"() => getElement({upload.id}).$refs.qRef.pickFiles()")
        ui.run_javascript(f"dropAnywhere({upload.id})")


def _add_gallery(gallery: Gallery, on_sample: Callable[[int], Any]) -> None:
    with ui.element("section").classes("card samples"):
        ui.label("Sample images").classes("title")
        with ui.element("div").classes("gallery"):
            for index, file in enumerate(gallery.files):
                button = ui.element("button").props(f'aria-label="open sample {index}"')
                button.on("click", lambda index=index: on_sample(index), args=[])
                with button:
                    small = ui.element("img").props('loading=lazy draggable=false alt=""')
                    small.props["src"] = gallery.address(index)
                    ui.tooltip(file.name)


class SharesPanel:
    """Classes of the image with their shares of its pixels, as bars."""

    def __init__(self) -> None:
        with ui.element("section").classes("card"):
            ui.label("Class shares").classes("title")
            self._rows = ui.element("div").classes("shares")

    def show(self, view: View) -> None:
        """Show a view's classes, the largest first."""
        self._rows.clear()
        with self._rows:
            for index, share in view.shares():
                colour = "rgb({},{},{})".format(*view.model.palette[index])
                ui.element("span").classes("swatch").style(f"background:{colour}")
                # Black stands for what is left unpainted.
                bar = colour if any(view.model.palette[index]) else "#868e96"
                ui.label(view.model.classes[index])
                with ui.element("div").classes("bar"):
                    ui.element("div").style(f"width:{100 * share:.2f}%;background:{bar}")
                ui.label(f"{100 * share:.1f} %").classes("number")
