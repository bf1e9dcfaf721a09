"""Draw training curves: tools/plot_log.py RUN… [--out curves.png].

A RUN is a work_dir (resumed starts are joined), the folder of one start in it, or a
vis_data/scalars.json. The figure shows losses, scores of the validation with their intervals, the
learning rate and measures of collapse. The table has the last and the best value of each score.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    from mmseg_deepvit.analysis.curve_pictures import COLLAPSE, choose_keys, plot_runs
    from mmseg_deepvit.analysis.training_log import TrainingLog, is_bound, read_log, summarize
    from mmseg_deepvit.tables import markdown_table


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="work_dir, start, or scalars.json")
    parser.add_argument("--out", default="curves.png", help="picture (curves.png); also .pdf, .svg")
    parser.add_argument("--keys", nargs="+", metavar="KEY", help="keys to draw (those above)")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="names of the runs, in order")
    args = parser.parse_args()
    if args.names and len(args.names) != len(args.runs):
        parser.error(f"--names: {len(args.names)} names for {len(args.runs)} runs")
    if args.names and len(set(args.names)) != len(args.names):
        parser.error("--names: two runs have the same name")
    return args


def name_runs(runs: list[str]) -> list[str]:
    """Names of the runs' folders, or their paths where two folders have the same name.

    Raises:
        UserError: A run is given twice.
    """
    if len(set(runs)) < len(runs):
        raise UserError("a run is given twice: name each once")
    paths = [Path(run).resolve() for run in runs]
    folders = [p.parent.parent if p.name == "scalars.json" else p for p in paths]
    names = [folder.name for folder in folders]
    return names if len(set(names)) == len(names) else runs


def summary_table(logs: dict[str, TrainingLog], keys: list[str] | None) -> str:
    """Last and best value of each metric of each run, or of each key that was asked for."""
    rows = []
    for name, log in logs.items():
        # Measures of collapse have no best value.
        there = [k for k in log.metrics if not (is_bound(k, log.metrics) or k.startswith(COLLAPSE))]
        for key in keys or there or [key for key in log.keys if key == "loss"]:
            if log.curve(key):
                last, best, iteration = summarize(key, log.curve(key))
                rows.append([name, key, f"{last:.4g}", f"{best:.4g}", iteration])
    return markdown_table(["run", "metric", "last", "best", "at iteration"], rows)


def main() -> None:
    """Read, draw, print."""
    args = parse_args()
    cli.check_out(args.out, "--out", is_folder=False)
    names = args.names or name_runs(args.runs)
    logs = {name: read_log(run) for name, run in zip(names, args.runs, strict=True)}
    plot_runs(args.out, logs, choose_keys(list(logs.values()), args.keys))
    for log in logs.values():
        for note in log.notes:
            print(f"note: {note}")
    print(summary_table(logs, args.keys))
    print(f"curves in {args.out}")


if __name__ == "__main__":
    cli.run(main)
