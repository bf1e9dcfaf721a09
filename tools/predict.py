"""Segment images: tools/predict.py IMAGE|FOLDER|GLOB… --config C --checkpoint FILE --out-dir DIR.

For each image it writes NAME_overlay.png (the classes over the image, with a legend) and
NAME_labels.png (one channel, the class index of each pixel, at the image's size).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from mmseg.apis import inference_model
from mmseg.models import BaseSegmentor
from rich.console import Console
from rich.progress import track

from mmseg_deepvit.cli import add_config_options, config_errors, load_config, run
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.inference import (
    draw_overlay,
    find_images,
    load_segmentor,
    read_image,
    result_names,
    write_png,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder or quoted pattern")
    parser.add_argument(
        "--config", required=True, help="config that the checkpoint was trained with"
    )
    parser.add_argument("--checkpoint", required=True, help="checkpoint file that training saved")
    parser.add_argument("--out-dir", required=True, help="folder for the results, made if missing")
    parser.add_argument("--device", help="cuda:0 where there is a GPU, else cpu")
    parser.add_argument("--opacity", type=float, default=0.5, help="of the paint, 0 to 1 (0.5)")
    add_config_options(parser)
    args = parser.parse_args()
    if not 0 <= args.opacity <= 1:
        parser.error(f"--opacity must be from 0 to 1, got {args.opacity}")
    return args


def predict_image(model: BaseSegmentor, image: Path, target: Path, opacity: float) -> None:
    """Segment one image and write its overlay and label map.

    Args:
        model: As ``load_segmentor`` returns it.
        image: The image file.
        target: Folder and name of the results, without ending.
        opacity: Of the paint, in [0, 1].

    Raises:
        UserError: The image cannot be read.
    """
    pixels = read_image(image)
    labels = inference_model(model, pixels).pred_sem_seg.data[0].cpu().numpy()
    meta = model.dataset_meta
    dtype = np.uint8 if len(meta["classes"]) <= 256 else np.uint16
    overlay = draw_overlay(pixels, labels, meta["classes"], meta["palette"], opacity)
    write_png(target.with_name(f"{target.name}_labels.png"), labels.astype(dtype))
    write_png(target.with_name(f"{target.name}_overlay.png"), overlay)


def main() -> int:
    """Segment all images; 1 if some could not be read."""
    args = parse_args()
    images = find_images(args.images)
    cfg = load_config(args.config, args.cfg_options)
    device = args.device or ("cuda:0" if torch.cuda.is_available() else "cpu")
    with config_errors(args.config):
        model = load_segmentor(cfg, args.checkpoint, device)
    out_dir = Path(args.out_dir)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out-dir {out_dir} cannot be made ({error.strerror})") from error

    failed = []
    named = list(zip(images, result_names(images), strict=True))
    for image, name in track(named, "Segmenting", console=Console(stderr=True)):
        try:
            predict_image(model, image, out_dir / name, args.opacity)
        except UserError as error:
            failed.append(str(error))
    print(f"{len(images) - len(failed)} of {len(images)} images segmented, results in {out_dir}")
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
