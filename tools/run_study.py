"""Train and test what a study asks for, and write its table: tools/run_study.py STUDY.yml.

A study's file says which models are trained, with which options and seeds. Each run leaves a folder
beside it (config, command, log, curve, scores of each image, measures of collapse, pictures), and
the table and figure in the README.md there are made from those folders, between two marks. Runs
that are recorded are skipped, runs that were stopped go on; checkpoints stay in --work-dir.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
from pathlib import Path

from mmseg_deepvit.cli import load_config, run
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.quick_help import only_help

if not only_help():
    from mmseg_deepvit.engine import find_whole_checkpoint
    from mmseg_deepvit.studies import Run, Study, read_study, record_run, recorded, write_report
    from mmseg_deepvit.studies.image_scores import keep_scores
    from mmseg_deepvit.tool_process import newest_scores, run_tool

TOOLS = Path(__file__).resolve().parent


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="its YAML file; its folder gets the results")
    parser.add_argument("--work-dir", help="for checkpoints and logs (work_dirs/FOLDER)")
    parser.add_argument(
        "--runs", nargs="+", default=["*"], metavar="PATTERN", help="only these, as '*-seed0'"
    )
    parser.add_argument("--list", action="store_true", help="print the runs, and do nothing")
    parser.add_argument("--report", action="store_true", help="train nothing, write the table")
    return parser.parse_args()


def chosen_runs(study: Study, patterns: list[str]) -> list[Run]:
    """The runs that patterns name, in the study's order."""
    runs = [r for r in study.runs if any(fnmatch.fnmatch(r.name, p) for p in patterns)]
    if not runs:
        raise UserError(f"--runs {' '.join(patterns)} names no run: --list shows them")
    return runs


def execute(run: Run, folder: Path, work_dir: Path) -> None:
    """Train, test, record."""
    config, words = run.model.config, run.option_words
    checkpoint = train(run, work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    scores = {}
    for name, extra in run.model.tests.items():
        test_dir = work_dir / name
        images = test_dir / "images.csv"
        options = [*words, f"test_evaluator.{_per_image(run)}.csv_path={images}"]
        arguments = [config, checkpoint, "--work-dir", test_dir, *extra, *options]
        run_tool(TOOLS / "test.py", arguments, work_dir / f"{name}.log")
        scores[name] = json.loads(newest_scores(test_dir).read_text())
        keep_scores(images, folder / f"{name}.csv")
    record_run(run, folder, work_dir, checkpoint, scores)


def train(run: Run, work_dir: Path) -> str:
    """Train, or go on, unless it is done; returns the last checkpoint."""
    iterations = load_config(run.model.config, run.options).train_cfg.max_iters
    checkpoint = find_whole_checkpoint(work_dir)
    if checkpoint is None or Path(checkpoint).stem != f"iter_{iterations}":
        arguments = [run.model.config, "--work-dir", work_dir, "--resume", *run.train_words]
        run_tool(TOOLS / "train.py", arguments, work_dir / "train.log")
        checkpoint = find_whole_checkpoint(work_dir)
    if checkpoint is None:
        raise UserError(f"{work_dir} holds no checkpoint: set default_hooks.checkpoint.interval")
    return checkpoint


def _per_image(run: Run) -> int:
    """Where the metric of each image stands in the config's list."""
    evaluators = load_config(run.model.config).test_evaluator
    kinds = [e["type"] for e in evaluators] if isinstance(evaluators, list) else []
    if "PerImageMetric" not in kinds:
        raise UserError(f"{run.model.config} has no PerImageMetric in a list test_evaluator")
    return kinds.index("PerImageMetric")


def main() -> None:
    """List, run, report."""
    args = parse_args()
    study = read_study(args.study)
    work = Path(args.work_dir or Path("work_dirs") / study.folder.resolve().name)
    for one in chosen_runs(study, args.runs):
        done = recorded(study.folder / one.name) is not None
        if args.list:
            print(one.name, "recorded" if done else "to do")
        elif not (done or args.report):
            execute(one, study.folder / one.name, (work / one.name).resolve())
    if not args.list:
        print(write_report(study))


if __name__ == "__main__":
    run(main)
