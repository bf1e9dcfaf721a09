"""Use of trained segmentors: load, predict, draw; importing it registers slide inference.

:func:`load_model` is for users; the other functions are the parts that tools put together.
"""

from .. import require_stack  # noqa: F401
from ..label_pictures import draw_outline, draw_overlay, is_palette, write_png
from .augmented_views import ProbabilityTTAModel
from .band_preprocessor import BandDataPreProcessor
from .files import find_images, read_image, result_names
from .inputs import ModelInput, input_channels, prepare_image, training_crop
from .loading import build_segmentor, load_segmentor
from .model import SegmentationModel, load_model
from .saved_config import saved_config
from .segmentation import Predictions, Segmentation
from .sliding import SlidingEncoderDecoder

__all__ = [
    "BandDataPreProcessor",
    "ModelInput",
    "Predictions",
    "ProbabilityTTAModel",
    "Segmentation",
    "SegmentationModel",
    "SlidingEncoderDecoder",
    "build_segmentor",
    "draw_outline",
    "draw_overlay",
    "find_images",
    "input_channels",
    "is_palette",
    "load_model",
    "load_segmentor",
    "prepare_image",
    "read_image",
    "result_names",
    "saved_config",
    "training_crop",
    "write_png",
]
