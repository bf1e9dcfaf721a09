"""Export of trained segmentors to ONNX, TorchScript and torch.export."""

from .. import require_stack  # noqa: F401
from .comparing import Comparison
from .description import describe
from .exporting import export_segmentor
from .folding import fold_map_norms
from .formats import FORMATS
from .network import ExportNetwork

__all__ = [
    "FORMATS",
    "Comparison",
    "ExportNetwork",
    "describe",
    "export_segmentor",
    "fold_map_norms",
]
