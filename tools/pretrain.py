"""Run timm's training script with our classifiers registered, and train with diversity losses.

For example, with a checkout of huggingface/pytorch-image-models next to this one:
``torchrun --nproc_per_node=8 tools/pretrain.py ../pytorch-image-models/train.py --data-dir imagenet
--model deepvit_s``. Its validate.py and inference.py work alike. Our options come before the
script, the script's after it. DiversePatch's classifiers were trained with ``--mixing 1
--contrastive 1`` and the script's ``--drop 0.2``, DeepViT-32B with ``--heads 0.1``.
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

#: Choices of :mod:`mmseg_deepvit.diversity.losses`, which help needs without PyTorch.
VARIANTS = ("paper", "published_code", "cosine")
TEMPERATURE = 0.2
LOSSES = {
    "mixing": "regions of mixed images have the class of their image; mixes each batch",
    "contrastive": "last tokens match the embedding of their patch",
    "cosine": "cosine of different tokens; not in the published code",
    "heads": "cosine of heads in the first blocks' maps",
}


def parse_args() -> argparse.Namespace:
    """Read our options, the script and its options."""
    parser = cli.tool_parser(__doc__)
    losses = parser.add_argument_group("weights of diversity losses (0: not computed)")
    for name, meaning in LOSSES.items():
        losses.add_argument(f"--{name}", type=float, default=0.0, help=meaning)
    form = "form of the contrastive loss (default: %(default)s)"
    parser.add_argument("--variant", choices=VARIANTS, default="published_code", help=form)
    divisor = "divisor of the cosines of --variant cosine (default: %(default)s)"
    parser.add_argument("--temperature", type=float, default=TEMPERATURE, help=divisor)
    parser.add_argument("script", type=Path, help="train.py of huggingface/pytorch-image-models")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="its options")
    return parser.parse_args()


def main() -> None:
    """Run the script as the main program."""
    args = parse_args()
    if not args.script.is_file():
        raise UserError(
            f"{args.script} does not exist: give the train.py of huggingface/pytorch-image-models"
        )
    options = args.options
    weights = {name: getattr(args, name) for name in LOSSES}
    if any(weights.values()):
        train_with_diversity(args, weights)
        if weights["mixing"] > 0:
            options = with_patch_head(options)
    sys.argv = [str(args.script), *options]
    sys.path.insert(0, str(args.script.resolve().parent))
    runpy.run_path(str(args.script), run_name="__main__")


def train_with_diversity(args: argparse.Namespace, weights: dict[str, Any]) -> None:
    """Replace timm's task, which the script uses, by ours."""
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
    """The script's options, with those of the mixing loss's classifier."""
    if "--model-kwargs" not in options:
        return [*options, "--model-kwargs", "patch_head=True"]
    at = options.index("--model-kwargs") + 1
    return [*options[:at], "patch_head=True", *options[at:]]


if __name__ == "__main__":
    cli.run(main)
