"""Write a config for your own images: tools/new_config.py DATA --out my.py.

The tool looks at a folder of images and masks: which files belong together, what is for training
and what for validation, sizes, bands, classes and their shares. It writes a short config for
tools/train.py and tools/test.py, and says what it decided and why. What it cannot tell it asks for,
by the name of an option.
"""

from __future__ import annotations

import argparse
from functools import partial

from mmseg_deepvit import command_line as cli

if not cli.only_help():
    from rich.console import Console
    from rich.progress import track

    from mmseg_deepvit.own_data import new_config

BACKBONES = ("deepvit", "cait", "diversepatch", "vit")
HEADS = ("upernet", "linear")
NORMALIZATIONS = ("imagenet", "half", "clip")
SAMPLE = 400


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("data", metavar="DATA", help="folder with images and masks")
    parser.add_argument("--backbone", choices=BACKBONES, default="deepvit", help="(deepvit)")
    parser.add_argument("--head", choices=HEADS, default="upernet", help="(upernet)")
    parser.add_argument("--weights", help="file or timm://NAME to begin at (from scratch)")
    parser.add_argument("--out", default="my.py", help="config to write (my.py)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing config")
    found = parser.add_argument_group("what is found where possible")
    found.add_argument("--images", metavar="FOLDER", help="folder of the images, below DATA")
    found.add_argument("--masks", metavar="FOLDER", help="folder of the masks, below DATA")
    ending = "what the names of {} end in: _sat, or _sat.jpg"
    found.add_argument("--img-suffix", metavar="END", help=ending.format("images"))
    found.add_argument("--seg-map-suffix", metavar="END", help=ending.format("masks"))
    found.add_argument("--classes", nargs="+", metavar="NAME", help="in the order of their values")
    table = "lines NAME VALUE or NAME RED GREEN BLUE (.csv, .txt), or .json"
    found.add_argument("--labels", metavar="FILE", help=table)
    found.add_argument("--ignore", nargs="*", metavar="VALUE", help="values, or colours '#rrggbb'")
    found.add_argument("--bands", nargs="+", type=int, help="bands of the images, from 0")
    found.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        help="of the weights' images, if they do not tell",
    )
    chosen = parser.add_argument_group("what is chosen")
    chosen.add_argument("--val-fraction", type=float, default=0.2, help="without folders (0.2)")
    chosen.add_argument("--crop", type=int, help="side of the training crop, in pixels")
    chosen.add_argument("--batch-size", type=int, help="images of an iteration")
    chosen.add_argument("--max-iters", type=int, help="iterations of the training")
    chosen.add_argument("--sample", type=int, default=SAMPLE, help="pairs to read; 0 for all (400)")
    args = parser.parse_args()
    cli.check_at_least(parser, args, 1, "crop", "max_iters")
    cli.check_at_least(parser, args, 2, "batch_size")
    cli.check_at_least(parser, args, 0, "sample")
    return args


def main() -> None:
    """Look, decide, write, tell."""
    args = vars(parse_args())
    args["sample"] = args["sample"] or None
    progress = partial(track, description="Reading", console=Console(stderr=True))
    print(new_config(args.pop("data"), progress=progress, **args).summary)


if __name__ == "__main__":
    cli.run(main)
