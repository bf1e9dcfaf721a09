"""Use of trained segmentors: load, predict, draw; importing it registers slide inference."""

from .. import require_stack  # noqa: F401
from ..label_pictures import draw_outline, draw_overlay, is_palette, write_png
from .band_preprocessor import BandDataPreProcessor
from .files import find_images, image_loader, read_image, result_names
from .inputs import ModelInput, prepare_image, training_crop
from .loading import build_segmentor, load_segmentor
from .sliding import SlidingEncoderDecoder

__all__ = [
    "BandDataPreProcessor",
    "ModelInput",
    "SlidingEncoderDecoder",
    "build_segmentor",
    "draw_outline",
    "draw_overlay",
    "find_images",
    "image_loader",
    "is_palette",
    "load_segmentor",
    "prepare_image",
    "read_image",
    "result_names",
    "training_crop",
    "write_png",
]
