"""Check a config's data before training: tools/check_dataset.py CONFIG.

Reads every image and mask as training does and tells counts, sizes and the share of each class. All
bad files are listed in OUT/bad_files.txt: unreadable ones, pairs of different sizes, labels that
are no class, images without mask and masks without image; the exit status is then 1. Some images
are drawn with their labels in OUT/contact_sheet_PART.png.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.files import replacing

if not cli.only_help():
    from mmengine.config import Config
    from rich.console import Console
    from rich.progress import track

    from mmseg_deepvit.datasets.checking import (
        Survey,
        bad_file_lines,
        build_datasets,
        draw_contact_sheet,
        summary,
        survey_dataset,
    )
    from mmseg_deepvit.inference import write_png

PARTS = ("train", "val", "test")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--part", nargs="+", choices=PARTS, help="all that the config has")
    parser.add_argument("--out", help="folder for the results (work_dirs/CONFIG/check_dataset)")
    parser.add_argument("--max-images", type=int, help="read so many of each part, evenly spread")
    parser.add_argument(
        "--workers", type=int, default=min(4, os.cpu_count() or 1), help="processes that read"
    )
    cli.add_config_options(parser)
    args = parser.parse_args()
    for name, value, low in (("max-images", args.max_images, 1), ("workers", args.workers, 0)):
        if value is not None and value < low:
            parser.error(f"--{name} must be at least {low}, got {value}")
    return args


def check_part(
    cfg: Config, part: str, args: argparse.Namespace, out: Path
) -> tuple[list[Survey], int]:
    """Look through what one dataloader reads; print what is found, and draw it.

    Returns:
        What was found in each data set, and how many contact sheets were written.
    """
    with cli.config_errors(args.config):
        datasets = build_datasets(cfg, part)
    surveys, sheets = [], 0
    for name, dataset in datasets:
        progress = partial(track, description=f"Reading {name}", console=Console(stderr=True))
        survey, reader = survey_dataset(name, dataset, args.max_images, args.workers, progress)
        print(summary(survey), flush=True)
        sheet = draw_contact_sheet(survey, reader)
        if sheet is not None:
            write_png(out / f"contact_sheet_{name}.png", sheet)
            sheets += 1
        surveys.append(survey)
    return surveys, sheets


def main() -> int:
    """Check all parts; 1 if there are bad files."""
    args = parse_args()
    cfg = cli.load_config(args.config, args.cfg_options)
    default = Path("work_dirs") / Path(args.config).stem / "check_dataset"
    out = cli.check_out(str(default) if args.out is None else args.out, "--out", is_folder=True)
    out.mkdir(parents=True, exist_ok=True)
    surveys: list[Survey] = []
    sheets = 0
    checked: dict[str, Any] = {}
    for part in args.part or [part for part in PARTS if cfg.get(f"{part}_dataloader")]:
        dataset = (cfg.get(f"{part}_dataloader") or {}).get("dataset")
        twin = next((name for name, other in checked.items() if other == dataset), None)
        if twin is None:
            checked[part] = dataset
            found, drawn = check_part(cfg, part, args, out)
            surveys, sheets = surveys + found, sheets + drawn
        else:
            print(f"{part}: the same as {twin}")
    bad = [line for survey in surveys for line in bad_file_lines(survey)]
    write_lines(out / "report.txt", map(summary, surveys))
    write_lines(out / "bad_files.txt", bad)
    drawings = f" and {sheets} contact sheets" if sheets else ", no pair to draw"
    print(f"{len(bad)} bad files; report, list{drawings} in {out}")
    return 1 if bad else 0


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as part:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
