"""Count parameters and operations: tools/get_flops.py CONFIG … [--shape H W].

Head mixing counts, and counts the same in every backend. A multiplication and an addition are two
operations, or one MAC.
"""

from __future__ import annotations

import argparse

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    from mmseg_deepvit.command_line.flops import Cost, count_cost
    from mmseg_deepvit.inference import training_crop
    from mmseg_deepvit.tables import markdown_table


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("configs", nargs="+", help="configs whose models are counted")
    parser.add_argument("--shape", nargs="+", type=int, help="height and width (the training crop)")
    cli.add_config_options(parser)
    args = parser.parse_args()
    cli.check_shape(parser, args.shape)
    return args


def count(path: str, args: argparse.Namespace) -> tuple[tuple[int, int], Cost]:
    """Shape and cost of a config's model."""
    cfg = cli.load_config(path, args.cfg_options)
    with cli.config_errors(path):
        shape = (args.shape[0], args.shape[-1]) if args.shape else training_crop(cfg)
        if shape is None:
            raise UserError(f"config {path} tells no training crop: give --shape HEIGHT WIDTH")
        return shape, count_cost(cfg.model, shape)


def main() -> None:
    """Count and print a table."""
    args = parse_args()
    rows = []
    for path in args.configs:
        (height, width), cost = count(path, args)
        parts = ", ".join(f"{name} {flops / 1e9:.1f}" for name, flops in cost.parts.items())
        figures = [f"{cost.parameters / 1e6:.2f}", f"{cost.flops / 1e9:.1f}", parts]
        rows.append([path, f"{height}×{width}", *figures])
    header = ["config", "image", "parameters (M)", "GFLOPs", "of which"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    cli.run(main)
