"""Check a config's data before training: tools/check_dataset.py CONFIG.

The tool reads every image and mask as training does, and prints counts, sizes and the share of each
class. OUT/bad_files.txt lists bad files: unreadable ones, pairs of different sizes, labels that are
no class, images without mask and masks without image. With bad files the exit status is 1.
OUT/contact_sheet_PART.png shows some images with their labels.
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

    from mmseg_deepvit.datasets import checking
    from mmseg_deepvit.inference import write_png

PARTS = ("train", "val", "test")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--part", nargs="+", choices=PARTS, help="all that the config has")
    parser.add_argument("--out", help="folder for the results (work_dirs/CONFIG/check_dataset)")
    parser.add_argument("--max-images", type=int, help="images to read of each part, evenly spread")
    workers = min(4, os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=workers, help="processes that read")
    cli.add_config_options(parser)
    args = parser.parse_args()
    cli.check_at_least(parser, args, 1, "max_images")
    cli.check_at_least(parser, args, 0, "workers")
    return args


def check_part(
    cfg: Config, part: str, args: argparse.Namespace, out: Path
) -> tuple[list[checking.Survey], int]:
    """Read the data sets of one dataloader, print a summary, and draw contact sheets.

    Returns:
        Survey of each data set, and number of contact sheets.
    """
    with cli.config_errors(args.config):
        datasets = checking.build_datasets(cfg, part)
    surveys, sheets = [], 0
    for name, dataset in datasets:
        progress = partial(track, description=f"Reading {name}", console=Console(stderr=True))
        survey, reader = checking.survey_dataset(
            name, dataset, args.max_images, args.workers, progress
        )
        print(checking.summary(survey), flush=True)
        sheet = checking.draw_contact_sheet(survey, reader)
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
    surveys: list[checking.Survey] = []
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
    bad = [line for survey in surveys for line in checking.bad_file_lines(survey)]
    write_lines(out / "report.txt", map(checking.summary, surveys))
    write_lines(out / "bad_files.txt", bad)
    drawings = f" and {sheets} contact sheets" if sheets else ", no pair to draw"
    print(f"{len(bad)} bad files; report, list{drawings} in {out}")
    return 1 if bad else 0


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file; it replaces the old one when it is complete."""
    with replacing(path) as part:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
