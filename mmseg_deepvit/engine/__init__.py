"""Parts of the training runner; importing this registers them."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .class_check_hook import ClassCheckHook, unwrap_segmentor
from .data_errors import check_data_folders
from .finite_check_hook import FiniteCheckHook
from .layer_decay import BlockDecayOptimWrapperConstructor
from .map_norm_calibration_hook import MapNormCalibrationHook
from .resuming import find_whole_checkpoint
from .train_loop import ResumableTrainLoop

__all__ = [
    "AtomicCheckpointHook",
    "BlockDecayOptimWrapperConstructor",
    "ClassCheckHook",
    "FiniteCheckHook",
    "MapNormCalibrationHook",
    "ResumableTrainLoop",
    "check_data_folders",
    "find_whole_checkpoint",
    "unwrap_segmentor",
]
