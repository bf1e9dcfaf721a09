"""Measure collapse: tools/analyze_collapse.py CONFIG [CHECKPOINT] --out DIR [--compare …].

The measures tell how similar attention maps of blocks are, heads of a block, patches of an image,
and tokens of blocks. They take our ViTs, mmseg's VisionTransformer, SwinTransformer,
MixVisionTransformer and PCPVT, and timm's ViTs (timm://NAME as the config); others are refused. DIR
gets collapse.json, the figures, and the page report.html. Without a checkpoint a config's model has
the weights that its training starts from.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from typing import Any

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    from mmseg_deepvit.analysis.collapse import Collapse, measure_collapse
    from mmseg_deepvit.analysis.collapse_report import summary_table, write_report
    from mmseg_deepvit.analysis.models import choose_images, load_subject


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("config", help="a config, or timm://NAME")
    parser.add_argument("checkpoint", nargs="?", help="of the segmentor, or of timm's model")
    more, other = "CONFIG [CHECKPOINT]", "another model; may be given again"
    append: Any = dict(nargs="+", action="append", default=[])
    parser.add_argument("--compare", metavar=more, help=other, **append)
    parser.add_argument("--out", required=True, metavar="DIR", help="made if it is missing")
    parser.add_argument("--names", nargs="+", help="names of the models (the files' names)")
    images = "files, folders, patterns (test images of the first config)"
    parser.add_argument("--images", nargs="+", default=[], help=images)
    parser.add_argument("--num-images", type=int, default=8, help="largest number of images (8)")
    shape = "height and width to resize to (each model's training crop)"
    parser.add_argument("--shape", nargs="+", type=int, help=shape)
    k = "distances k of the blocks that are compared (1 2 3)"
    parser.add_argument("--distances", nargs="+", type=int, default=[1, 2, 3], help=k)
    parser.add_argument("--no-cka", action="store_true", help="leave out L²/2 products of tokens")
    cli.add_device_option(parser)
    cli.add_config_options(parser)
    args = parser.parse_args()
    cli.check_at_least(parser, args, 1, "num_images", "distances")
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
            images = choose_images(args.images, subject, args.num_images)
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
    names = itertools.chain([name], (f"{name} {number}" for number in itertools.count(2)))
    return next(unused for unused in names if unused not in taken)


def main() -> None:
    """Measure, print the table, write the report."""
    args = parse_args()
    if args.names and len(set(args.names)) < len(args.names):
        raise UserError(f"--names must differ, got {' '.join(args.names)}")
    out = cli.check_out(args.out, "--out", is_folder=True)
    found = measure(args)
    print(summary_table(found))
    images = next(iter(found.values())).num_images
    settings = {"images": images, "shape": args.shape or "each model's training crop"}
    written = write_report(out, found, settings, ["python", *sys.argv])
    print(f"Report: {written[-1]}")


if __name__ == "__main__":
    cli.run(main)
