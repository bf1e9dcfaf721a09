"""Test a segmentor: tools/test.py CONFIG CHECKPOINT, with the options of mmsegmentation's tool."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Collection
from math import inf

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmseg.registry import METRICS

    from mmseg_deepvit import checkpoints, engine


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file that training saved")
    parser.add_argument("--out", help="folder for predicted label maps, a PNG for each image")
    matrix = "write confusion matrix and scores of each class (to the folder of the log)"
    parser.add_argument("--confusion", nargs="?", const="", metavar="FOLDER", help=matrix)
    parser.add_argument("--show", action="store_true", help="show painted images in a window")
    parser.add_argument("--show-dir", help="folder for painted images")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds that --show waits")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
    cli.add_runner_options(parser)
    args = parser.parse_args()
    if not 0 <= args.wait_time < inf:
        parser.error(f"--wait-time takes seconds from 0 on, got {args.wait_time}")
    folders = [("--out", args.out), ("--show-dir", args.show_dir)]
    for option, folder in [*folders, ("--confusion", args.confusion or None)]:
        if folder is not None:
            cli.check_out(folder, option, is_folder=True)
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
    if cfg.tta_model.type == "SegTTAModel":  # it ignores test_cfg, and errs on a single logit
        cfg.tta_model.type = "ProbabilityTTAModel"
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def write_label_maps(cfg: Config, folder: str) -> None:
    """Let the metrics write each predicted label map into a folder, a PNG for each image.

    Metrics with ``output_dir`` write the format of the data set's server: ``IoUMetric`` class
    indices, Cityscapes' metrics label ids. Without such a metric an ``IoUMetric`` is added that
    scores nothing.
    """
    given = cfg.test_evaluator
    evaluators = given if isinstance(given, list) else [given]
    parameters = [_parameters(evaluator["type"]) for evaluator in evaluators]
    if not any("output_dir" in taken for taken in parameters):
        evaluators.append(dict(type="IoUMetric", format_only=True, output_dir=folder))
    for evaluator, taken in zip(evaluators, parameters, strict=False):
        if "output_dir" in taken:
            evaluator["output_dir"] = folder
        if "keep_results" in taken:  # mmseg's CityscapesMetric deletes them otherwise
            evaluator["keep_results"] = True
    cfg.test_evaluator = evaluators


def write_confusion(cfg: Config, folder: str) -> None:
    """Add the metric that writes a confusion matrix, to the folder of the log if none is named."""
    given = cfg.test_evaluator
    heads = cfg.model.get("decode_head")
    head = heads[-1] if isinstance(heads, list) else heads
    ignored = (head or {}).get("ignore_index", 255)
    metric = dict(type="ConfusionMetric", out_dir=folder or None, ignore_index=ignored)
    cfg.test_evaluator = [*(given if isinstance(given, list) else [given]), metric]


def _parameters(metric: str | type) -> Collection[str]:
    """Names of a metric's arguments; none of an unknown metric, which the runner refuses."""
    kind = METRICS.get(metric) if isinstance(metric, str) else metric
    return inspect.signature(kind).parameters if kind else ()


def main() -> None:
    """Test."""
    args = parse_args()
    cfg = cli.runner_config(args)
    # mmengine would load the keys that fit and leave the other weights random; it does not know
    # published names either. The weights are therefore loaded here.
    content = checkpoints.read_checkpoint(args.checkpoint)
    state = checkpoints.segmentor_state_dict(content)
    cfg.load_from, cfg.resume = None, False
    engine.check_data_folders(cfg, ("test",))
    if args.show or args.show_dir:
        draw_predictions(cfg, args)
    if args.confusion is not None:
        write_confusion(cfg, args.confusion)
    if args.tta:
        use_tta(cfg, args.config)
    if args.out is not None:
        with cli.config_errors(args.config):
            write_label_maps(cfg, args.out)
    engine.join_processes(cfg)
    with cli.config_errors(args.config):
        runner = Runner.from_cfg(cfg)  # a strategy of training is not for testing
        _ = runner.test_loop  # builds the data, whose errors are then errors of the config
    segmentor = engine.unwrap_segmentor(runner.model)
    checkpoints.load_whole_model(segmentor, state)
    runner.logger.info(f"Load checkpoint from {args.checkpoint}")
    engine.warn_of_normalization(
        segmentor, checkpoints.saved_normalization(content), args.checkpoint
    )
    with cli.config_errors(args.config):
        runner.test()
    if args.out is not None:
        runner.logger.info(f"Predicted label maps are in {args.out}")
    engine.part_together()


if __name__ == "__main__":
    cli.run(main)
