"""Sample images of the command line: small pictures for the page, pixels when one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from nicegui import app
from starlette.responses import Response

from ..errors import UserError
from ..label_pictures import as_picture
from .pictures import fit, jpeg

_LONGEST = 128  # pixels of a small picture
_KEPT = 512  # small pictures in memory


class Gallery:
    """Image files in their order.

    Args:
        files: Paths of the images; they are read when the page asks for them.
        read: Function from a path to an image as the model takes it, (H, W, channels).
    """

    def __init__(self, files: Sequence[Path], read: Callable[[Path], np.ndarray]) -> None:
        self.files = list(files)
        self._read = read
        self._small = lru_cache(_KEPT)(self._draw)

    def add_routes(self) -> None:
        """Serve the small pictures at the addresses of :meth:`address`."""
        app.add_api_route("/gallery/{index}", self._respond, include_in_schema=False)

    def address(self, index: int) -> str:
        """Address of a small picture on the page's server."""
        return f"/gallery/{index}"

    def read(self, index: int) -> np.ndarray:
        """An image as the model takes it, (H, W, channels).

        Raises:
            UserError: The file cannot be read, or the model cannot take it.
        """
        return self._read(self.files[index])

    def _respond(self, index: int) -> Response:
        if not 0 <= index < len(self.files):
            return Response(status_code=404)
        try:
            return Response(self._small(index), media_type="image/jpeg")
        except UserError:  # choosing the image says why
            return Response(status_code=404)

    def _draw(self, index: int) -> bytes:
        return jpeg(fit(as_picture(self.read(index)), _LONGEST))
