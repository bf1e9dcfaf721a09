"""Parts of the training runner; importing this registers them."""

from .class_check_hook import ClassCheckHook, unwrap_segmentor
from .data_errors import check_data_folders, named_data_errors
from .layer_decay import BlockDecayOptimWrapperConstructor
from .map_norm_calibration_hook import MapNormCalibrationHook

__all__ = [
    "BlockDecayOptimWrapperConstructor",
    "ClassCheckHook",
    "MapNormCalibrationHook",
    "check_data_folders",
    "named_data_errors",
    "unwrap_segmentor",
]
