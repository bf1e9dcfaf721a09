"""Train and test what a study asks for, and write its table: tools/run_study.py STUDY.yml.

A study's file has models, options and seeds. Runs leave two files in its folder: runs.json (config,
commands, curves, measures of collapse) and scores.csv.xz (scores of each image). Table and figure
in the README.md there are made of them, between two marks. Recorded runs are skipped, stopped runs
go on; checkpoints stay in --work-dir. Several processes may run parts of a study at once, each with
other --runs.

Records and checkpoints hold for the settings that they were made with. Where the study or a config
has other settings now, they are named and not used, unless --redo or --accept is given.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    if find_spec("mmseg_deepvit.studies") is None:
        sys.exit(
            "error: the installed mmseg_deepvit has no studies: pip install -e . in a checkout"
        )

    from mmseg_deepvit import studies
    from mmseg_deepvit.command_line.tool_process import newest_scores, run_tool
    from mmseg_deepvit.engine import find_whole_checkpoint
    from mmseg_deepvit.studies import provenance
    from mmseg_deepvit.studies.study_files import lock_study

TOOLS = Path(__file__).resolve().parent


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("study", help="its YAML file; its folder gets the results")
    parser.add_argument("--work-dir", help="folder for checkpoints and logs (work_dirs/FOLDER)")
    only = "only these runs, as '*-seed0'"
    parser.add_argument("--runs", nargs="+", default=["*"], metavar="PATTERN", help=only)
    parser.add_argument("--list", action="store_true", help="print the runs, and do nothing")
    parser.add_argument("--report", action="store_true", help="train nothing, write the table")
    parser.add_argument("--redo", action="store_true", help="repeat recorded runs")
    reason = "train nothing, and accept records of other settings, for a reason that is kept"
    parser.add_argument("--accept", metavar="REASON", help=reason)
    args = parser.parse_args()
    if args.accept is not None and not args.accept.strip():
        parser.error("--accept needs a reason: why do the scores hold nevertheless?")
    return args


def chosen_runs(study: studies.Study, patterns: list[str]) -> list[studies.Run]:
    """The runs that patterns name, in the study's order."""
    runs = [r for r in study.runs if any(fnmatch.fnmatch(r.name, p) for p in patterns)]
    if not runs:
        raise UserError(f"--runs {' '.join(patterns)} names no run: --list shows them")
    return runs


def execute(study: studies.Study, run: studies.Run, work_dir: Path) -> None:
    """Train, test, record."""
    config, words = run.model.config, run.option_words
    digests = provenance.run_digests(run)
    commits = provenance.note_training(work_dir, digests[provenance.TRAINING])
    checkpoint = train(run, work_dir)
    scores, images = {}, {}
    for name, extra in run.model.tests.items():
        test_dir = work_dir / name
        images[name] = test_dir / "images.csv"
        options = [*words, f"test_evaluator.{_per_image(run)}.csv_path={images[name]}"]
        arguments = [config, checkpoint, "--work-dir", test_dir, *extra, *options]
        run_tool(TOOLS / "test.py", arguments, work_dir / f"{name}.log")
        scores[name] = json.loads(newest_scores(test_dir).read_text())
    studies.record_run(study, run, work_dir, checkpoint, scores, images, digests, commits)


def train(run: studies.Run, work_dir: Path) -> str:
    """Train, or go on, unless the training is complete; return the last checkpoint."""
    iterations = cli.load_config(run.model.config, run.options).train_cfg.max_iters
    checkpoint = find_whole_checkpoint(work_dir)
    if checkpoint is None or Path(checkpoint).stem != f"iter_{iterations}":
        arguments = [run.model.config, "--work-dir", work_dir, "--resume", *run.train_words]
        run_tool(TOOLS / "train.py", arguments, work_dir / "train.log")
        checkpoint = find_whole_checkpoint(work_dir)
    if checkpoint is None:
        raise UserError(f"{work_dir} holds no checkpoint: set default_hooks.checkpoint.interval")
    return checkpoint


def _per_image(run: studies.Run) -> int:
    """Index of the metric of each image in the config's list."""
    evaluators = cli.load_config(run.model.config).test_evaluator
    kinds = [e["type"] for e in evaluators] if isinstance(evaluators, list) else []
    if "PerImageMetric" not in kinds:
        raise UserError(f"{run.model.config} has no PerImageMetric in a list test_evaluator")
    return kinds.index("PerImageMetric")


def refuse_stale(stale: dict[str, list[str]], study: str) -> None:
    """Raise an error if a chosen run is recorded with other settings."""
    if stale:
        name, parts = next(iter(stale.items()))
        more = f" and {len(stale) - 1} more are" if len(stale) > 1 else " is"
        raise UserError(
            f"{name}{more} recorded with other settings than {study} has now ({', '.join(parts)}): "
            "--redo runs them again, --accept REASON lets them stand, --runs leaves them out"
        )


def accept(runs: list[studies.Run], study: studies.Study, reason: str) -> None:
    """Accept records, and print their differences."""
    for one in runs:
        changed = studies.accept_record(study, one, reason)
        print(f"{one.name} accepted ({'; '.join(changed) or 'its config is the same'})")


def main() -> None:
    """List, run, report."""
    args = parse_args()
    study = studies.read_study(args.study)
    work = Path(args.work_dir or Path("work_dirs") / study.folder.resolve().name).resolve()
    runs = chosen_runs(study, args.runs)
    records, stale = studies.find_records(study)
    if args.list:
        for one in runs:
            print(one.name, describe(one, records, stale))
        return
    if args.accept is not None:
        accept([one for one in runs if one.name in stale], study, args.accept)
    elif not args.report:
        if not args.redo:
            refuse_stale({r.name: stale[r.name] for r in runs if r.name in stale}, args.study)
        todo = [one for one in runs if args.redo or one.name not in records]
        for one in todo:
            provenance.check_training(
                work / one.name, provenance.run_digests(one)[provenance.TRAINING]
            )
        for one in todo:
            execute(study, one, work / one.name)
    with lock_study(study.folder):  # or an older table may be written last
        records, stale = studies.find_records(study)
        for name, parts in stale.items():
            print(f"note: {name} is recorded with other settings ({', '.join(parts)}): left out")
        print(studies.write_report(study, records))


def describe(
    run: studies.Run, records: dict[str, dict[str, Any]], stale: dict[str, list[str]]
) -> str:
    """The state of a run in a few words."""
    if run.name in stale:
        return f"recorded with other settings: {', '.join(stale[run.name])}"
    if run.name not in records:
        return "to do"
    reasons = [one["reason"] for one in records[run.name].get("accepted", [])]
    return f"recorded (accepted: {'; '.join(reasons)})" if reasons else "recorded"


if __name__ == "__main__":
    cli.run(main)
