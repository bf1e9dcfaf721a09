"""Train a segmentor: tools/train.py CONFIG, with the options of mmsegmentation's own tool."""

from __future__ import annotations

import argparse

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import RUNNERS

from mmseg_deepvit.cli import add_runner_options, config_errors, run, runner_config
from mmseg_deepvit.engine import check_data_folders, named_data_errors
from mmseg_deepvit.errors import UserError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in the work dir"
    )
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    add_runner_options(parser)
    return parser.parse_args()


def enable_amp(cfg: Config) -> None:
    """Replace the plain optimiser wrapper by the mixed-precision one."""
    kind = cfg.optim_wrapper.get("type", "OptimWrapper")
    if kind == "AmpOptimWrapper":
        return
    if kind != "OptimWrapper":
        raise UserError(f"--amp replaces an OptimWrapper, and the config has a {kind}: drop --amp")
    if not torch.cuda.is_available():
        raise UserError("--amp needs a GPU, and PyTorch sees none: drop --amp")
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.loss_scale = "dynamic"


def main() -> None:
    """Train."""
    args = parse_args()
    cfg = runner_config(args)
    if args.amp:
        enable_amp(cfg)
    cfg.resume = args.resume
    check_data_folders(cfg, ("train", "val"))
    with config_errors(args.config):
        runner = RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
        _ = runner.train_loop  # builds the data: what is wrong there is told as the config's fault
    with named_data_errors(runner):
        runner.train()


if __name__ == "__main__":
    run(main)
