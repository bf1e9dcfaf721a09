"""Prediction with files of ``tools/export.py``, without their config and without mmseg's models."""

from .exported_segmentor import ExportedSegmentor
from .metadata import Metadata
from .onnx_segmentor import OnnxSegmentor

__all__ = ["ExportedSegmentor", "Metadata", "OnnxSegmentor"]
