"""Run timm's training script with our classifiers registered, and train with diversity losses.

For example, with a checkout of huggingface/pytorch-image-models beside this one:
``torchrun --nproc_per_node=8 tools/pretrain.py ../pytorch-image-models/train.py --data-dir imagenet
--model deepvit_s``. Its validate.py and inference.py work alike. Options before the script are
ours, those after it the script's. As published, DiversePatch's classifiers were trained with
``--mixing 1 --contrastive 1`` and the script's ``--drop 0.2``, DeepViT-32B with ``--heads 0.1``.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    import mmseg_deepvit.timm_models  # noqa: F401  (registers the models)
    from mmseg_deepvit.diversity.losses import DiversityLoss

#: Those of :mod:`mmseg_deepvit.diversity.losses`, which help needs without PyTorch.
VARIANTS = ("paper", "published_code", "cosine")
TEMPERATURE = 0.2


def parse_args() -> argparse.Namespace:
    """Our options, and the script with its own."""
    parser = cli.tool_parser(__doc__)
    losses = parser.add_argument_group("weights of diversity losses (0: not computed)")
    losses.add_argument(
        "--mixing",
        type=float,
        default=0.0,
        help="regions of mixed images are told the class of their image; mixes each batch",
    )
    losses.add_argument(
        "--contrastive", type=float, default=0.0, help="last tokens match their patch's embedding"
    )
    losses.add_argument(
        "--cosine", type=float, default=0.0, help="cosine of different tokens; not in the code"
    )
    losses.add_argument(
        "--heads", type=float, default=0.0, help="cosine of heads in the first blocks' maps"
    )
    parser.add_argument(
        "--variant",
        choices=VARIANTS,
        default="published_code",
        help="form of the contrastive loss (default: %(default)s)",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=TEMPERATURE,
        help="divisor of the cosines of --variant cosine (default: %(default)s)",
    )
    parser.add_argument("script", type=Path, help="train.py of huggingface/pytorch-image-models")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="its options")
    return parser.parse_args()


def main() -> None:
    """Run the script as if it had been started itself."""
    args = parse_args()
    if not args.script.is_file():
        raise UserError(
            f"{args.script} does not exist: give the train.py of huggingface/pytorch-image-models"
        )
    options = args.options
    weights = {name: getattr(args, name) for name in ("mixing", "contrastive", "cosine", "heads")}
    if any(weights.values()):
        train_with_diversity(args, weights)
        if weights["mixing"] > 0:
            options = with_patch_head(options)
    sys.argv = [str(args.script), *options]
    sys.path.insert(0, str(args.script.resolve().parent))
    runpy.run_path(str(args.script), run_name="__main__")


def train_with_diversity(args: argparse.Namespace, weights: dict[str, Any]) -> None:
    """Put our task in the place of timm's, from which the script takes it."""
    try:
        import timm.task

        from mmseg_deepvit.diversity.classification import (
            ClassifierDiversity,
            DiverseClassificationTask,
        )
    except ImportError as error:
        raise UserError(
            f"diversity losses need timm.task ({error}): install a newer timm"
        ) from error
    if "ClassificationTask" not in args.script.read_text(encoding="utf-8"):
        raise UserError(
            f"{args.script} does not train by timm.task.ClassificationTask: take the train.py of "
            "the installed timm's version, or no diversity losses"
        )
    try:
        DiversityLoss(**weights, variant=args.variant, temperature=args.temperature)
    except ValueError as error:
        raise UserError(str(error)) from error
    diversity = ClassifierDiversity(**weights, variant=args.variant, temperature=args.temperature)
    task: Any = timm.task
    task.ClassificationTask = DiverseClassificationTask.with_diversity(diversity)


def with_patch_head(options: list[str]) -> list[str]:
    """The script's options, such that the model has the mixing loss's classifier."""
    if "--model-kwargs" not in options:
        return [*options, "--model-kwargs", "patch_head=True"]
    at = options.index("--model-kwargs") + 1
    return [*options[:at], "patch_head=True", *options[at:]]


if __name__ == "__main__":
    cli.run(main)
