"""Measure collapse: tools/analyze_collapse.py CONFIG [CHECKPOINT] --out DIR [--compare …].

How alike attention maps of different blocks are, heads of a block, patches of an image, tokens of
different blocks: on our ViTs, mmseg's VisionTransformer, SwinTransformer, MixVisionTransformer and
PCPVT, and timm's ViTs (timm://NAME in place of a config); others are refused. DIR gets
collapse.json, the figures, and report.html with all of it. Without a checkpoint a config's model is
as its training begins.
"""

from __future__ import annotations

import argparse
import sys

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    from mmseg_deepvit.analysis.collapse import Collapse, measure_collapse
    from mmseg_deepvit.analysis.collapse_report import summary_table, write_report
    from mmseg_deepvit.analysis.models import load_images, load_subject


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("config", help="a config, or timm://NAME")
    parser.add_argument("checkpoint", nargs="?", help="of the whole segmentor, or of timm's model")
    parser.add_argument(
        "--compare",
        nargs="+",
        action="append",
        default=[],
        metavar="CONFIG [CHECKPOINT]",
        help="another model in the same figures; may be given again",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="made if it is missing")
    parser.add_argument("--names", nargs="+", help="of the models in figures (the files' names)")
    parser.add_argument(
        "--images", nargs="+", default=[], help="files, folders, patterns (the first's test set)"
    )
    parser.add_argument("--num-images", type=int, default=8, help="most images (8)")
    parser.add_argument(
        "--shape", nargs="+", type=int, help="height and width to resize to (each model's crop)"
    )
    parser.add_argument(
        "--distances", nargs="+", type=int, default=[1, 2, 3], help="k of blocks k apart (1 2 3)"
    )
    parser.add_argument("--no-cka", action="store_true", help="leave out L²/2 products of tokens")
    cli.add_device_option(parser)
    cli.add_config_options(parser)
    args = parser.parse_args()
    if args.num_images < 1 or min(args.distances) < 1:
        parser.error("--num-images and --distances must be at least 1")
    cli.check_shape(parser, args.shape)
    if any(len(pair) > 2 for pair in args.compare):
        parser.error("--compare takes a config and at most one checkpoint: give it again for more")
    if args.names and len(args.names) != 1 + len(args.compare):
        parser.error(f"--names needs {1 + len(args.compare)} names, got {len(args.names)}")
    args.device = cli.pick_device(args.device)
    return args


def measure(args: argparse.Namespace) -> dict[str, Collapse]:
    """Measures of all models, on the same images."""
    shape = tuple((args.shape * 2)[:2]) if args.shape else None
    images = None
    found: dict[str, Collapse] = {}
    for i, (source, *checkpoint) in enumerate([[args.config, args.checkpoint], *args.compare]):
        file = checkpoint[0] if checkpoint else None
        subject = load_subject(source, file, args.device, args.cfg_options)
        if images is None:
            images = load_images(args.images, subject, args.num_images)
        name = args.names[i] if args.names else _unused(subject.name, found)
        print(f"{name}: {len(images)} images at {shape or subject.shape}", flush=True)
        batch = subject.prepare(images, shape)
        with cli.config_errors(source):
            found[name] = measure_collapse(
                subject.backbone, batch, sorted({1, *args.distances}), not args.no_cka
            )
    return found


def _unused(name: str, taken: dict[str, Collapse]) -> str:
    """The name, with a number if another model has it already."""
    number = 2
    unused = name
    while unused in taken:
        unused, number = f"{name} {number}", number + 1
    return unused


def main() -> None:
    """Measure, print the table, write the report."""
    args = parse_args()
    if args.names and len(set(args.names)) < len(args.names):
        raise UserError(f"--names must differ, got {' '.join(args.names)}")
    out = cli.check_out(args.out, "--out", is_folder=True)
    found = measure(args)
    print(summary_table(found))
    settings = {
        "images": next(iter(found.values())).num_images,
        "shape": args.shape or "each model's training crop",
    }
    command = ["python", *sys.argv]
    written = write_report(out, found, settings, command)
    print(f"Report: {written[-1]}")


if __name__ == "__main__":
    cli.run(main)
