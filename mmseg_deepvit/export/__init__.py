"""Export of trained segmentors to ONNX, TorchScript and torch.export, and use of ONNX files."""

from .. import require_stack  # noqa: F401
from .exported_segmentor import ExportedSegmentor
from .exporting import Comparison, export_segmentor
from .folding import fold_map_norms
from .formats import FORMATS
from .metadata import Metadata
from .network import ExportNetwork
from .onnx_segmentor import OnnxSegmentor

__all__ = [
    "FORMATS",
    "Comparison",
    "ExportNetwork",
    "ExportedSegmentor",
    "Metadata",
    "OnnxSegmentor",
    "export_segmentor",
    "fold_map_norms",
]
