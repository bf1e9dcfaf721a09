"""Parts of the training runner; importing this registers them."""

from .. import require_stack  # noqa: F401
from .checks.class_check_hook import ClassCheckHook, unwrap_segmentor
from .checks.data_folders import check_data_folders
from .checks.finite_check_hook import FiniteCheckHook
from .checks.weights_check_hook import WeightsCheckHook, warn_of_normalization
from .distributed.fsdp_strategy import FSDP2Strategy, check_hooks
from .distributed.launching import (
    CPUDistributedDataParallel,
    join_processes,
    may_restart,
    part_together,
)
from .early_stopping_hook import ResumableEarlyStoppingHook, better_rule
from .first_process import from_first_process
from .loaded_image_visualization_hook import LoadedImageVisualizationHook
from .map_norm_calibration_hook import MapNormCalibrationHook
from .optimizers.cpu_amp import CPUAmpOptimWrapper, cpu_has_bf16
from .optimizers.layer_decay import BlockDecayOptimWrapperConstructor
from .resuming.newest_checkpoint import find_whole_checkpoint
from .resuming.train_loop import ResumableTrainLoop
from .resuming.work_dirs import check_unused, checkpoint_folder, claim, is_remote
from .saving.atomic_checkpoint_hook import AtomicCheckpointHook
from .validation_loss_hook import ValidationLossHook

__all__ = [
    "AtomicCheckpointHook",
    "BlockDecayOptimWrapperConstructor",
    "CPUAmpOptimWrapper",
    "CPUDistributedDataParallel",
    "ClassCheckHook",
    "FSDP2Strategy",
    "FiniteCheckHook",
    "LoadedImageVisualizationHook",
    "MapNormCalibrationHook",
    "ResumableEarlyStoppingHook",
    "ResumableTrainLoop",
    "ValidationLossHook",
    "WeightsCheckHook",
    "better_rule",
    "check_data_folders",
    "check_hooks",
    "check_unused",
    "checkpoint_folder",
    "claim",
    "cpu_has_bf16",
    "find_whole_checkpoint",
    "from_first_process",
    "is_remote",
    "join_processes",
    "may_restart",
    "part_together",
    "unwrap_segmentor",
    "warn_of_normalization",
]
