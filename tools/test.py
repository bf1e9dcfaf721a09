"""Test a segmentor: tools/test.py CONFIG CHECKPOINT, with the options of mmsegmentation's tool."""

from __future__ import annotations

import argparse
from math import inf

from mmseg_deepvit.cli import add_runner_options, check_out, config_errors, run, runner_config
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.quick_help import only_help

if not only_help():
    from mmengine.config import Config
    from mmengine.runner import Runner

    from mmseg_deepvit.checkpoints import load_whole_model, read_checkpoint, segmentor_state_dict
    from mmseg_deepvit.engine import (
        check_data_folders,
        join_processes,
        part_together,
        unwrap_segmentor,
    )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file that training saved")
    parser.add_argument("--out", help="folder for the predicted label maps, for offline evaluation")
    parser.add_argument("--show", action="store_true", help="show painted images in a window")
    parser.add_argument("--show-dir", help="folder for painted images")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds that --show waits")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
    add_runner_options(parser)
    args = parser.parse_args()
    if not 0 <= args.wait_time < inf:
        parser.error(f"--wait-time takes seconds from 0 on, got {args.wait_time}")
    for option, folder in (("--out", args.out), ("--show-dir", args.show_dir)):
        if folder is not None:
            check_out(folder, option, is_folder=True)
    return args


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Turn the visualisation hook on for --show and --show-dir."""
    hook = cfg.get("default_hooks", {}).get("visualization")
    if hook is None:
        raise UserError(
            f"--show and --show-dir need default_hooks.visualization in {args.config}: add "
            "visualization=dict(type='SegVisualizationHook')"
        )
    hook.draw = True
    hook.interval = 1  # OpenMMLab's hook paints every fiftieth image otherwise
    if args.show:
        hook.show = True
        hook.wait_time = args.wait_time
    if args.show_dir:
        cfg.visualizer.save_dir = args.show_dir


def use_tta(cfg: Config, config: str) -> None:
    """Test through the config's tta_model and tta_pipeline."""
    if missing := [name for name in ("tta_model", "tta_pipeline") if not cfg.get(name)]:
        raise UserError(
            f"--tta needs {' and '.join(missing)}, and {config} has not: add it (configs/_base_/ "
            "has tta_model in default_runtime.py and tta_pipeline in each of datasets/)"
        )
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def write_label_maps(cfg: Config, folder: str) -> None:
    """Have the metrics write each predicted label map into a folder."""
    evaluators = cfg.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        evaluator["output_dir"] = folder
        evaluator["keep_results"] = True


def main() -> None:
    """Test."""
    args = parse_args()
    cfg = runner_config(args)
    # mmengine would load what fits and warn of the rest, so that a checkpoint of another model were
    # tested with random weights, and published names do not fit: the weights are loaded here.
    state = segmentor_state_dict(read_checkpoint(args.checkpoint), args.checkpoint)
    cfg.load_from, cfg.resume = None, False
    check_data_folders(cfg, ("test",))
    if args.show or args.show_dir:
        draw_predictions(cfg, args)
    if args.tta:
        use_tta(cfg, args.config)
    if args.out is not None:
        write_label_maps(cfg, args.out)
    join_processes(cfg)
    with config_errors(args.config):
        runner = Runner.from_cfg(cfg)  # a strategy of training is none of testing
        _ = runner.test_loop  # builds the data: what is wrong there is told as the config's fault
    load_whole_model(unwrap_segmentor(runner.model), state, args.checkpoint)
    runner.logger.info(f"Load checkpoint from {args.checkpoint}")
    with config_errors(args.config):
        runner.test()
    part_together()


if __name__ == "__main__":
    run(main)
