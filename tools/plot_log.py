"""Draw training curves: tools/plot_log.py RUN… [--out curves.png].

A RUN is a work_dir (starts that were resumed are joined), the folder of one start in it, or a
vis_data/scalars.json. Drawn are losses, what validation found, the learning rate, and keys that
start with collapse/; the last and the best value of each metric are printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmseg_deepvit.command_line import check_out, only_help, run, tool_parser
from mmseg_deepvit.errors import UserError

if not only_help():
    from mmseg_deepvit.analysis.curve_pictures import COLLAPSE, choose_panels, plot_runs
    from mmseg_deepvit.analysis.training_log import TrainingLog, is_bound, read_log, summarize
    from mmseg_deepvit.tables import markdown_table


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="work_dir, start, or scalars.json")
    parser.add_argument("--out", default="curves.png", help="picture (curves.png); also .pdf, .svg")
    parser.add_argument("--keys", nargs="+", metavar="KEY", help="draw these, each in a panel")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="of the runs, in their order")
    parser.add_argument(
        "--smooth", type=float, default=0.0, help="moving average of training's curves, 0 to 1 (0)"
    )
    args = parser.parse_args()
    if not 0 <= args.smooth < 1:
        parser.error(f"--smooth must be at least 0 and below 1, got {args.smooth}")
    if args.names and len(args.names) != len(args.runs):
        parser.error(f"--names: {len(args.names)} names for {len(args.runs)} runs")
    if args.names and len(set(args.names)) != len(args.names):
        parser.error("--names: two runs have the same name")
    return args


def name_runs(runs: list[str]) -> list[str]:
    """Names of the folders of runs, or whole paths where those are not different.

    Raises:
        UserError: A run that is named twice.
    """
    if len(set(runs)) < len(runs):
        raise UserError("a run is given twice: name each once")
    paths = [Path(run).resolve() for run in runs]
    folders = [p.parent.parent if p.name == "scalars.json" else p for p in paths]
    names = [folder.name for folder in folders]
    return names if len(set(names)) == len(names) else runs


def summary_table(logs: dict[str, TrainingLog], keys: list[str] | None) -> str:
    """Last and best value of each metric of each run, or of the keys that were asked for."""
    rows = []
    for name, log in logs.items():
        # Measures of collapse know no better or worse.
        there = [k for k in log.metrics if not (is_bound(k, log.metrics) or k.startswith(COLLAPSE))]
        for key in keys or there or [key for key in log.keys if key == "loss"]:
            if log.curve(key):
                last, best, iteration = summarize(key, log.curve(key))
                rows.append([name, key, f"{last:.4g}", f"{best:.4g}", iteration])
    return markdown_table(["run", "metric", "last", "best", "at iteration"], rows)


def main() -> None:
    """Read, draw, print."""
    args = parse_args()
    check_out(args.out, "--out", is_folder=False)
    names = args.names or name_runs(args.runs)
    logs = {name: read_log(run) for name, run in zip(names, args.runs, strict=True)}
    panels = choose_panels(list(logs.values()), args.keys)
    plot_runs(args.out, logs, panels, args.smooth)
    for log in logs.values():
        for note in log.notes:
            print(f"note: {note}")
    print(summary_table(logs, args.keys))
    print(f"curves in {args.out}")


if __name__ == "__main__":
    run(main)
