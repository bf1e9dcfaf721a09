"""The parts that tools share: their run, options, configs and results; child processes, measuring.

With ``--help`` alone nothing here imports PyTorch (:func:`mmseg_deepvit.quick_help.only_help`).
"""

from ..quick_help import only_help
from .arguments import (
    add_config_options,
    add_device_option,
    add_runner_options,
    check_at_least,
    check_shape,
    pick_device,
    tool_parser,
)
from .configs import config_errors, load_config, runner_config, saved_config
from .results import check_out, writing
from .running import run

__all__ = [
    "add_config_options",
    "add_device_option",
    "add_runner_options",
    "check_at_least",
    "check_out",
    "check_shape",
    "config_errors",
    "load_config",
    "only_help",
    "pick_device",
    "run",
    "runner_config",
    "saved_config",
    "tool_parser",
    "writing",
]
