"""Parts of the training runner; importing this registers them."""

from .. import require_stack  # noqa: F401
from .atomic_checkpoint_hook import AtomicCheckpointHook
from .class_check_hook import ClassCheckHook, unwrap_segmentor
from .cpu_amp import CPUAmpOptimWrapper, cpu_has_bf16
from .data_errors import check_data_folders
from .finite_check_hook import FiniteCheckHook
from .fsdp_strategy import FSDP2Strategy, check_hooks
from .launching import (
    CPUDistributedDataParallel,
    from_first_process,
    join_processes,
    may_restart,
    part_together,
)
from .layer_decay import BlockDecayOptimWrapperConstructor
from .map_norm_calibration_hook import MapNormCalibrationHook
from .resuming import find_whole_checkpoint
from .train_loop import ResumableTrainLoop
from .weights_check_hook import WeightsCheckHook, warn_of_normalization
from .work_dirs import check_unused, checkpoint_folder, claim, is_remote

__all__ = [
    "AtomicCheckpointHook",
    "BlockDecayOptimWrapperConstructor",
    "CPUAmpOptimWrapper",
    "CPUDistributedDataParallel",
    "ClassCheckHook",
    "FSDP2Strategy",
    "FiniteCheckHook",
    "MapNormCalibrationHook",
    "ResumableTrainLoop",
    "WeightsCheckHook",
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
