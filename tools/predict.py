"""Segment images: tools/predict.py IMAGE|FOLDER|GLOB… --checkpoint FILE [--out-dir DIR].

The config is the one inside the checkpoint, or --config FILE. An ONNX file that tools/export.py
wrote needs none. --model NAME takes the newest checkpoint in work_dirs/NAME, which is where
tools/train.py NAME.py leaves it.

Each image gets NAME_overlay.png (the classes over the image, with a legend) and NAME_labels.png
(one channel, the class index of each pixel, at the image's size).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    from rich.console import Console
    from rich.progress import track

    from mmseg_deepvit import inference
    from mmseg_deepvit.command_line.config_headers import read_header
    from mmseg_deepvit.datasets.damage import DataError
    from mmseg_deepvit.engine import find_whole_checkpoint
    from mmseg_deepvit.inference import SegmentationModel

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder or quoted pattern")
    parser.add_argument("--config", help="config (the one in the checkpoint)")
    source = parser.add_mutually_exclusive_group(required=True)
    file = "file that training saved, or tools/export.py (.onnx)"
    source.add_argument("--checkpoint", help=file)
    name = "newest checkpoint that the config of this name was trained to, in work_dirs/NAME"
    source.add_argument("--model", metavar="NAME", help=name)
    folder = "folder for the results, made if missing (predictions)"
    parser.add_argument("--out-dir", default="predictions", help=folder)
    cli.add_device_option(parser)
    kinds = "automatic mixed precision (none); not for .onnx"
    parser.add_argument("--amp", choices=("bf16", "fp16"), help=kinds)
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
    parser.add_argument("--opacity", type=float, default=0.5, help="of the paint, 0 to 1 (0.5)")
    cli.add_config_options(parser)
    args = parser.parse_args()
    if not 0 <= args.opacity <= 1:
        parser.error(f"--opacity must be from 0 to 1, got {args.opacity}")
    if args.model:
        args.checkpoint = find_model(args.model)
    if is_onnx(args.checkpoint) and (args.amp or args.tta or args.cfg_options):
        parser.error("an .onnx file holds its settings: leave out --amp, --tta and --cfg-options")
    return args


def find_model(name: str) -> str:
    """Find the newest checkpoint of a model that was trained here, by the name of its config.

    Raises:
        UserError: It was not trained; the message has the command.
    """
    work_dir = Path("work_dirs") / name
    if checkpoint := find_whole_checkpoint(work_dir):
        return checkpoint
    missing = f"--model {name} has no weights in {work_dir}"
    config = ROOT / "configs" / f"{name}.py"
    if not config.is_file():
        raise UserError(f"{missing}, and is no name of a config; configs/README.md lists them")
    raise UserError(
        f"{missing}, and the terms of most data sets forbid passing weights on; train it: "
        f"{read_header(config).start}"
    )


def is_onnx(checkpoint: str) -> bool:
    """Whether a file's name is that of an exported model."""
    return Path(checkpoint).suffix == ".onnx"


def load(args: argparse.Namespace) -> SegmentationModel:
    """Load the model that the command line names."""
    if is_onnx(args.checkpoint):
        return inference.load_model(args.checkpoint, device=args.device)
    cfg = None  # load_model takes the one in the checkpoint
    if args.config is not None:
        cfg = cli.load_config(args.config, args.cfg_options)
    elif args.cfg_options:
        cfg = cli.saved_config(args.checkpoint, args.cfg_options)
    with cli.config_errors(args.config or f"in {args.checkpoint}"):
        return inference.load_model(args.checkpoint, cfg, args.device, args.amp)


def result_files(target: Path) -> tuple[Path, Path]:
    """Paths of label map and overlay, from folder and name of the results."""
    labels, overlay = (f"{target.name}_{kind}.png" for kind in ("labels", "overlay"))
    return target.with_name(labels), target.with_name(overlay)


def predict_image(model: SegmentationModel, image: Path, target: Path, args: Any) -> None:
    """Segment one image and write its overlay and label map.

    Raises:
        DataError: The image cannot be read.
        UserError: The model cannot take the image.
    """
    with cli.config_errors(args.config or f"in {args.checkpoint}"):
        result = model.predict(image, tta=args.tta)
    label_file, overlay_file = result_files(target)
    inference.write_png(label_file, result.labels)
    inference.write_png(overlay_file, result.overlay(args.opacity, legend=True))


def refuse_overwriting(images: Sequence[Path], targets: Sequence[Path]) -> None:
    """Raise if a result would replace one of the images.

    Raises:
        UserError: The message names the first.
    """
    inputs = {file_id(image) for image in images if image.exists()}
    for image, target in zip(images, targets, strict=True):
        for file in result_files(target):
            if file.exists() and file_id(file) in inputs:
                raise UserError(
                    f"--out-dir {file.parent} holds the image {file.name}, which the result of "
                    f"{image} would replace: give another folder"
                )


def file_id(path: Path) -> tuple[int, int]:
    """Numbers that identify a file under any name."""
    status = path.stat()
    return status.st_dev, status.st_ino


def main() -> int:
    """Segment all images; 1 if some could not be read, or the model could not take them."""
    args = parse_args()
    images = inference.find_images(args.images)
    out_dir = cli.check_out(args.out_dir, "--out-dir", is_folder=True)
    targets = [out_dir / name for name in inference.result_names(images)]
    refuse_overwriting(images, targets)
    model = load(args)
    out_dir.mkdir(parents=True, exist_ok=True)

    failed, refused = [], []
    named = list(zip(images, targets, strict=True))
    for image, target in track(named, "Segmenting", console=Console(stderr=True)):
        try:
            predict_image(model, image, target, args)
        except DataError as error:  # names the image
            failed.append(str(error))
        except UserError as error:
            refused.append(error)
            failed.append(f"{image} cannot be segmented: {error}")
    if len(refused) == len(images):  # the model or its config is at fault, not an image
        raise UserError(f"none of {len(images)} images can be segmented: {refused[0]}")
    print(
        f"{len(images) - len(failed)} of {len(images)} images segmented; {out_dir} holds "
        "…_overlay.png to look at, and …_labels.png, whose values are the classes"
    )
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main)
