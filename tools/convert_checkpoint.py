"""Convert a published checkpoint: tools/convert_checkpoint.py SRC OUT.

SRC is a file, an http(s) address or timm://NAME. A segmentor keeps its heads. The tool prints the
fate of each key, and writes a file that our backbones, or mmseg's SwinTransformer, load. OUT ends
in .safetensors, or is a PyTorch file; a segmentor's keeps its classes, palette and config.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    import torch
    from torch import Tensor

    from mmseg_deepvit import checkpoints


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("source", nargs="?", metavar="SRC", help="file or address to convert")
    parser.add_argument("out", nargs="?", metavar="OUT", help="the .pth or .safetensors file")
    parser.add_argument("--family", help="family to take it for, if its keys allow it")
    which = "moving average or model, of a file with both (the one of the published accuracy)"
    parser.add_argument("--weights", choices=["ema", "model"], help=which)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--list", action="store_true", help="list the families, do nothing else")
    args = parser.parse_args()
    if not args.list and args.out is None:
        parser.error("give SRC and OUT, or --list")
    return args


def check_out(source: str, out: Path, force: bool) -> None:
    """Refuse a target that cannot or should not be written.

    Raises:
        UserError: OUT is a folder, the source, or an older file without --force.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder: give the name of a .pth file in it")
    if not out.exists():
        return
    if os.path.exists(source) and os.path.samefile(source, out):
        raise UserError(f"{out} is the file to convert: give another name")
    if not force:
        raise UserError(f"{out} exists: give another name, or --force to replace it")


def report(conversion: checkpoints.Conversion) -> Iterator[str]:
    """The fate of each key, line by line, then their numbers."""
    for old, new in conversion.renamed.items():
        changed = conversion.changed.get(new)
        line = f"{old} -> {new}" if new != old else f"{old} kept"
        yield f"{line} ({changed})" if changed else line
    for old, why in conversion.dropped.items():
        yield f"{old} dropped: {why}"
    renamed = sum(old != new for old, new in conversion.renamed.items())
    family = conversion.family
    yield (
        f"family {family.name} ({family.reference}) for {family.target}: "
        f"{len(conversion.renamed)} kept ({renamed} renamed, {len(conversion.changed)} with values "
        f"rearranged), {len(conversion.dropped)} dropped"
    )


def saved_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Classes, palette and config that a segmentor was trained with, as mmseg 1.x names them."""
    kept = {name: meta[name] for name in ("cfg", "dataset_meta") if name in meta}
    if "dataset_meta" not in meta and "CLASSES" in meta:
        kept["dataset_meta"] = {"classes": meta["CLASSES"], "palette": meta.get("PALETTE")}
    return kept


def write(state: dict[str, Tensor], meta: dict[str, Any], out: Path) -> None:
    """Write a checkpoint in the format of its ending.

    Raises:
        UserError: The file cannot be written.
    """
    with cli.writing(out, sync=True) as part:
        if out.suffix == ".safetensors":
            checkpoints.save_safetensors(part, state, meta)
        else:
            torch.save({"state_dict": state, "meta": meta}, part)


def main() -> None:
    """Read, convert, report, write."""
    args = parse_args()
    if args.list:
        for family in checkpoints.FAMILIES:
            print(f"{family.name:15} {family.target:6} {family.reference}")
        return
    out = Path(args.out).expanduser()
    check_out(args.source, out, args.force)
    asked = checkpoints.get_family(args.family) if args.family else None
    content = checkpoints.read_checkpoint(args.source)
    conversion = checkpoints.convert_checkpoint(content, asked, args.weights)
    for line in report(conversion):
        print(line)
    meta = {
        "source": args.source,
        "family": conversion.family.name,
        **checkpoints.normalization_meta(conversion.normalization),
        **saved_meta(content.meta),
    }
    write(conversion.state, meta, out)
    print(f"written to {out}")


if __name__ == "__main__":
    cli.run(main)
