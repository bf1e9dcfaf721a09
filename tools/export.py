"""Write a trained segmentor as one file that runs elsewhere, checked against the model.

The file maps raw images, RGB from 0 to 255, float32 (batch, 3, H, W), to class logits (batch,
classes, H, W); it normalises them itself. A config with LoadBands gives a file that takes its bands
in their order, each range mapped to 0 to 255. The metadata has classes, palette, and the loading,
resizing, padding and windows of the config's test, which tools/predict.py --checkpoint FILE.onnx
follows. A config that prepares images in another way is refused.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    from mmseg_deepvit.export import FORMATS, describe, export_segmentor
    from mmseg_deepvit.inference import load_segmentor, training_crop
    from mmseg_deepvit.tokens.backbone_facts import normalizes_maps

#: :data:`mmseg_deepvit.export.FORMATS`, and its limit, which help needs without PyTorch.
FORMAT_NAMES = ("onnx", "torchscript", "exported-program")
TOLERANCE = 1e-3


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("config", help="config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help="checkpoint file that training saved")
    parser.add_argument("--format", choices=FORMAT_NAMES, default="onnx", help="(onnx)")
    sizes = parser.add_mutually_exclusive_group()
    shape = "height and width of the images (the training crop)"
    sizes.add_argument("--shape", nargs="+", type=int, help=shape)
    sizes.add_argument("--dynamic", action="store_true", help="batch, height and width may vary")
    parser.add_argument("--out", help="the file (the checkpoint's name with the format's ending)")
    largest = f"largest difference from the model over the largest logit ({TOLERANCE:g})"
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help=largest)
    cli.add_config_options(parser)
    args = parser.parse_args()
    cli.check_shape(parser, args.shape)
    if not args.tolerance > 0:
        parser.error(f"--tolerance must be above 0, got {args.tolerance}")
    return args


def main() -> None:
    """Read, write, compare, and print the sizes that the file takes."""
    args = parse_args()
    suffix = FORMATS[args.format].suffix
    default = str(Path(args.checkpoint or "model").with_suffix(suffix))
    out = cli.check_out(default if args.out is None else args.out, "--out", is_folder=False)
    if out.resolve() == Path(args.checkpoint).resolve():
        raise UserError(f"--out {out} is the checkpoint itself: give another file")
    cfg = cli.load_config(args.config, args.cfg_options)
    with cli.config_errors(args.config):
        model = load_segmentor(cfg, args.checkpoint)
    crop = training_crop(cfg)
    shape = (args.shape[0], args.shape[-1]) if args.shape else None
    if normalizes_maps(model) and (args.dynamic or shape not in (None, crop)):
        print(
            "warning: BatchNorm of attention maps belongs to the training number of tokens: "
            f"expect lower accuracy on images that are not {_by(crop)}",
            file=sys.stderr,
        )
    with cli.config_errors(args.config):
        results = export_segmentor(model, out, args.format, shape, args.dynamic, args.tolerance)
    size = "any size, in batches" if args.dynamic else _by(shape or crop)
    print(f"written to {out}: {args.format}, {out.stat().st_size / 1e6:.1f} MB, images of {size}")
    for result in results:
        what, same = "compared on images", ""
        if result.labels is not None:
            what, same = (
                "predicted a made-up image file",
                f", {result.labels:.2%} of the labels the same",
            )
        print(
            f"{what} of {_by(result.shape)}: largest difference {result.absolute:.2e}, "
            f"{result.relative:.1e} of the largest score{same}"
        )
    if not describe(model, None if args.dynamic else shape or crop).takes_every_image:
        print(
            f"warning: the file takes {size} only; tools/predict.py resizes images that "
            "test_pipeline leaves at other sizes: expect other labels there, or use --dynamic",
            file=sys.stderr,
        )


def _by(sizes: tuple[int, ...] | None) -> str:
    return "×".join(map(str, sizes or ()))


if __name__ == "__main__":
    cli.run(main)
