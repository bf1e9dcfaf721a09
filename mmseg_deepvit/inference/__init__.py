"""Using trained segmentors: load, predict, draw; importing this registers slide inference."""

from .files import find_images, read_image, result_names
from .pictures import draw_overlay, write_png
from .segmentor import load_segmentor
from .sliding import SlidingEncoderDecoder

__all__ = [
    "SlidingEncoderDecoder",
    "draw_overlay",
    "find_images",
    "load_segmentor",
    "read_image",
    "result_names",
    "write_png",
]
