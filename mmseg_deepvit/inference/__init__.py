"""Using trained segmentors: load, predict, draw."""

from .files import find_images, read_image, result_names
from .pictures import draw_overlay, write_png
from .segmentor import load_segmentor

__all__ = [
    "draw_overlay",
    "find_images",
    "load_segmentor",
    "read_image",
    "result_names",
    "write_png",
]
