"""Train a segmentor: tools/train.py CONFIG, with the options of mmsegmentation's own tool."""

from __future__ import annotations

import argparse
import os
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    import torch
    from mmengine.config import Config
    from mmengine.dist import is_main_process
    from mmengine.runner import Runner
    from mmseg.registry import RUNNERS

    from mmseg_deepvit import engine

#: Settings of ``--amp``: bf16 has the range of fp32 and needs no loss scaling.
AMP_TYPES: dict[str, dict[str, Any]] = {
    "fp16": dict(dtype="float16", loss_scale="dynamic"),
    "bf16": dict(dtype="bfloat16", loss_scale=1.0),
}
#: The momentum of iteration n is at least 10 / (10 + n). A constant one of 0.0002 would leave in a
#: short training most of the weights that it began with.
EMA = dict(ema_type="MomentumAnnealingEMA", gamma=10)
#: mmengine's visualizer backend and the package it needs.
LOG_BACKENDS = {
    "mlflow": ("MLflowVisBackend", "mlflow"),
    "tensorboard": ("TensorboardVisBackend", "tensorboard"),
    "wandb": ("WandbVisBackend", "wandb"),
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("config", help="config file")
    last = "go on from the last checkpoint in the work dir"
    parser.add_argument("--resume", action="store_true", help=last)
    kinds = "automatic mixed precision: fp16 with loss scaling (default), or bf16, on CPUs too"
    parser.add_argument("--amp", nargs="?", const="fp16", choices=sorted(AMP_TYPES), help=kinds)
    ema = "validate and save an exponential moving average of the weights (0.0002, more at first)"
    parser.add_argument("--ema", nargs="?", const=2e-4, type=float, metavar="MOMENTUM", help=ema)
    every = "log measures of collapse every INTERVAL iterations (500)"
    parser.add_argument(
        "--collapse", nargs="?", const=500, type=int, metavar="INTERVAL", help=every
    )
    loss = "measure the loss on the validation images too"
    parser.add_argument("--val-loss", action="store_true", help=loss)
    stop = "stop after N validations without a better score, as mIoU:5 (RULE: less or greater)"
    parser.add_argument("--early-stop", type=early_stop, metavar="SCORE:N[:RULE]", help=stop)
    backends = sorted(LOG_BACKENDS)
    also = "in addition to the local log"
    parser.add_argument("--log-to", nargs="+", choices=backends, default=[], help=also)
    cli.add_runner_options(parser)
    return parser.parse_args()


def early_stop(text: str) -> dict[str, Any]:
    """Settings of the hook that an option's value means."""
    score, *rest = text.split(":")
    patience, *rule = rest or [""]
    number = int(patience) if patience.isdecimal() else 0
    if not score or number < 1 or rule not in ([], ["less"], ["greater"]):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a score and a number of validations from 1 on: as mIoU:5, or "
            "SCORE:5:less for one that is better when it is less"
        )
    return dict(monitor=score, patience=number, rule=rule[0] if rule else None)


def stop_early(cfg: Config, settings: dict[str, Any], measures_loss: bool) -> None:
    """Add the hook that stops early, and keep the best checkpoint by its score."""
    score = settings["monitor"]
    if cfg.get("val_dataloader") is None:
        raise UserError("--early-stop needs a validation, and the config has none: add it")
    if "loss" in score and not measures_loss:
        raise UserError(f"--early-stop {score} needs the validation's loss: add --val-loss")
    try:
        settings["rule"] = settings["rule"] or engine.better_rule(score)
    except ValueError as error:
        raise UserError(f"--early-stop {error}, as {score}:5:less") from error
    add_hook(cfg, "--early-stop", "ResumableEarlyStoppingHook", **settings)
    hook = (cfg.get("default_hooks") or {}).get("checkpoint")
    if hook is None:
        return
    best = hook.get("save_best")
    kept = [best] if isinstance(best, str) else list(best or ())
    if score in kept or kept == ["auto"]:
        return
    rules = hook.get("rule") or [engine.better_rule(name) for name in kept]
    rules = [rules] * len(kept) if isinstance(rules, str) else list(rules)
    hook.update(save_best=[*kept, score], rule=[*rules, settings["rule"]])


def enable_amp(cfg: Config, kind: str) -> None:
    """Replace the plain optimiser wrapper by the mixed-precision one."""
    wrapper = cfg.optim_wrapper.get("type", "OptimWrapper")
    if wrapper not in ("OptimWrapper", "AmpOptimWrapper", "CPUAmpOptimWrapper"):
        raise UserError(
            f"--amp replaces an OptimWrapper, and the config has a {wrapper}: drop --amp"
        )
    on_gpu = torch.cuda.is_available()
    if not on_gpu and kind != "bf16":
        raise UserError(f"--amp {kind} needs a GPU, and PyTorch sees none: give --amp bf16")
    if not on_gpu and not engine.cpu_has_bf16():
        raise UserError("--amp bf16 needs a processor that computes with bfloat16: drop --amp")
    wrapper = "AmpOptimWrapper" if on_gpu else "CPUAmpOptimWrapper"
    cfg.optim_wrapper.update(type=wrapper, **AMP_TYPES[kind])


def add_hook(cfg: Config, option: str, kind: str, **settings: Any) -> None:
    """Add a hook for an option, unless the config has one."""
    hooks = cfg.get("custom_hooks") or []
    if any(hook.get("type") == kind for hook in hooks):
        raise UserError(f"{option} adds a hook {kind}, and the config has one: drop {option}")
    cfg.custom_hooks = [*hooks, dict(type=kind, **settings)]


def mlflow_settings(cfg: Config) -> dict[str, Any]:
    """Where MLflow keeps runs: as ``MLFLOW_TRACKING_URI`` says, else in the work dir.

    mmengine's default, plain files, is refused by MLflow from version 3 on.
    """
    place = Path(cfg.work_dir).absolute()
    # MLflow refuses longer values than those of these keys; the full config is kept as a file.
    keys = [k for k in ("model", "optim_wrapper", "train_cfg", "randomness") if k in cfg]
    settings = dict(exp_name=place.name, tracked_config_keys=keys)
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return dict(settings, tracking_uri=uri)
    if find_spec("sqlalchemy") is None:
        raise UserError(
            "--log-to mlflow without MLFLOW_TRACKING_URI needs more than mlflow-skinny: pip "
            "install mlflow"
        )
    artifacts = (place / "mlartifacts").as_uri()
    return dict(
        settings, tracking_uri=f"sqlite:///{place / 'mlflow.db'}", artifact_location=artifacts
    )


def log_to(cfg: Config, name: str) -> None:
    """Add a backend of the visualizer."""
    kind, package = LOG_BACKENDS[name]
    if find_spec(package) is None:
        raise UserError(f"--log-to {name} needs the package {package}: pip install {package}")
    backends = cfg.visualizer.get("vis_backends") or []
    if not any(backend.get("type") == kind for backend in backends):
        settings = mlflow_settings(cfg) if name == "mlflow" else {}
        cfg.visualizer.vis_backends = [*backends, dict(type=kind, **settings)]


def take_work_dir(cfg: Config, asked: bool) -> None:
    """Keep other runs out of the work dir, and resume from its newest complete checkpoint.

    Args:
        cfg: Config, which is changed to resume. Without a complete checkpoint the run starts as
            without --resume.
        asked: Whether --resume was given. A run that torchrun may restart always resumes, or it
            would lose its work with each restart.

    Raises:
        UserError: Another run uses the work dir, or has left checkpoints there that are incomplete
            or that --resume does not ask for.
    """
    work_dir = os.path.abspath(cfg.work_dir)
    hook = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    folder = engine.checkpoint_folder(work_dir, hook.get("out_dir"))
    resume = asked or engine.may_restart()

    def look() -> str | None:
        engine.claim(work_dir)
        if resume:
            return engine.find_whole_checkpoint(work_dir, folder)
        if not cfg.get("resume"):  # from a file that the config names
            engine.check_unused(folder)
        return None

    if engine.is_remote(folder):  # mmengine looks there
        cfg.resume = resume or cfg.get("resume", False)
        return
    checkpoint = engine.from_first_process(look)
    if not resume:
        return
    if checkpoint is not None:
        cfg.load_from = checkpoint
    cfg.resume = checkpoint is not None or cfg.get("load_from") is None
    if is_main_process() and checkpoint is None:
        print(f"nothing to resume in {cfg.work_dir}: starting from the first iteration")
    elif is_main_process() and not asked:
        print(f"a run with restarts goes on from {checkpoint}; another --work-dir starts a new one")


def train(cfg: Config, config: str) -> None:
    """Build the runner and train."""
    with cli.config_errors(config):
        runner = RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
        _ = runner.train_loop  # builds the data, whose errors are then errors of the config
    begun = runner.iter
    try:
        runner.train()
    except Exception:
        if runner.iter > begun:  # it ran, so the config is not the only cause
            raise
        with cli.config_errors(config):
            raise
    if is_main_process():
        name_checkpoints(runner, config)


def name_checkpoints(runner: Runner, config: str) -> None:
    """Print which checkpoints the training left, the best ones first, and the command to test."""
    info = runner.message_hub.runtime_info
    keys = [*sorted(key for key in info if key.startswith("best_ckpt")), "last_ckpt"]
    kept = {key: info[key] for key in keys if info.get(key)}
    if not kept:
        return
    for key, path in kept.items():
        print(f"{'last' if key == 'last_ckpt' else 'best'} checkpoint: {path}")
    test = shlex.join(["tools/test.py", config, next(iter(kept.values()))])
    print(f"next: python {test}")


def main() -> None:
    """Train."""
    args = parse_args()
    cfg = cli.runner_config(args)
    if args.amp:
        enable_amp(cfg, args.amp)
    if args.ema is not None:
        if not 0 < args.ema < 1:
            raise UserError(f"--ema takes a momentum above 0 and below 1, got {args.ema:g}")
        add_hook(cfg, "--ema", "EMAHook", momentum=args.ema, **EMA)
    if args.collapse is not None:
        if args.collapse < 1:
            raise UserError(f"--collapse takes iterations from 1 on, got {args.collapse}")
        add_hook(cfg, "--collapse", "CollapseHook", interval=args.collapse)
    if args.val_loss:
        add_hook(cfg, "--val-loss", "ValidationLossHook")
    if args.early_stop is not None:
        kinds = [hook.get("type") for hook in cfg.get("custom_hooks") or []]
        stop_early(cfg, args.early_stop, "ValidationLossHook" in kinds)
    for name in args.log_to:
        log_to(cfg, name)
    engine.check_hooks(cfg)
    engine.check_data_folders(cfg, ("train", "val"))
    engine.join_processes(cfg)
    take_work_dir(cfg, args.resume)
    try:
        train(cfg, args.config)
    except SystemExit:  # SIGTERM: a checkpoint is saved
        engine.part_together()
        raise
    engine.part_together()


if __name__ == "__main__":
    cli.run(main)
