"""Let a user click points of an image."""

from __future__ import annotations

import numpy as np

from ..errors import UserError


def click_points(pixels: np.ndarray) -> list[tuple[int, int]]:
    """Show an image until the user has clicked on points of it and pressed Enter.

    Args:
        pixels: (H, W, 3), uint8, BGR.

    Returns:
        (x, y) of each point in pixels, x to the right and y down.

    Raises:
        UserError: There is no window to show it in, or nothing was clicked.
    """
    from matplotlib import pyplot  # looks for a display, which no other tool needs

    figure, axes = pyplot.subplots()
    try:
        if getattr(figure.canvas, "required_interactive_framework", None) is None:
            raise UserError(
                "--click needs a display and a matplotlib backend for it: give --points"
            )
        axes.imshow(pixels[..., ::-1])
        axes.set_title("click on points; a right click takes one back; Enter ends")
        clicked = figure.ginput(n=-1, timeout=0)
    finally:
        pyplot.close(figure)
    if not clicked:
        raise UserError("no point was clicked: click on the image, or give --points X,Y")
    # Pixel centres have integer coordinates.
    return [(round(x), round(y)) for x, y in clicked]
