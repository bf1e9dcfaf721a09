"""A study's table: a row for each model and test, from the records of its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from ..evaluation.bootstrap import Interval, summarize_seeds
from ..tables import markdown_table
from .image_scores import PARTS, SCORES, ImageScores, mean_iou
from .study import Model, Run, Study
from .study_files import IMAGE_SCORES, read_image_scores

#: Measures of collapse and their names in tables.
MEASURES = {
    "similarity_P_k1": "blocks alike, P",
    "similarity_A_k1": "blocks alike, A",
    "head_similarity_P": "heads alike, P",
    "head_similarity_A": "heads alike, A",
    "entropy": "entropy",
    "patch_similarity": "patches alike",
    "effective_rank": "rank of tokens",
    "high_frequency": "energy off the mean",
}

_SCORE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **dict.fromkeys(SCORES, lambda means: means),
    "mIoU": mean_iou,
}


@dataclass(frozen=True)
class Row:
    """A model and one of its tests.

    Attributes:
        model: The model.
        test: Name of the test.
        scores: Scores in percent, (S seeds, N images), by name; or, under ``'mIoU'``,
            intersections and unions, (S, N, classes, 2).
        seeds: Seeds whose runs are recorded.
        collapse: Measures of collapse by name, one value for each seed.
    """

    model: Model
    test: str
    scores: Mapping[str, np.ndarray]
    seeds: list[int]
    collapse: Mapping[str, list[float]]

    @property
    def score(self) -> str:
        """Name of the score that tables begin with: ``'Dice'`` or ``'mIoU'``."""
        return next(iter(self.scores))

    @property
    def of_seeds(self) -> np.ndarray:
        """That score of each seed, (S,)."""
        return _SCORE[self.score](self.scores[self.score].mean(1))

    def interval(self, score: str | None = None) -> Interval:
        """Mean and interval over seeds and images."""
        name = score or self.score
        return summarize_seeds(self.scores[name], _SCORE[name])

    def difference(self, baseline: Row) -> Interval | None:
        """The score less the baseline's on the same images, for the seeds that both have."""
        common = [s for s in self.seeds if s in baseline.seeds]
        if not common:
            return None
        mine, theirs = (
            row.scores[self.score][[row.seeds.index(s) for s in common]] for row in (self, baseline)
        )
        of = _SCORE[self.score]
        both = np.stack([mine, theirs], axis=2)
        return summarize_seeds(both, lambda means: of(means[:, 0]) - of(means[:, 1]))


def read_rows(study: Study, records: Mapping[str, dict[str, Any]]) -> dict[tuple[str, str], Row]:
    """Rows by model and test, of models that have a recorded run.

    Raises:
        UserError: No run is recorded, scores are missing, or tests are of different images.
    """
    scores = read_image_scores(study.folder)
    rows = {}
    for model in study.models.values():
        for test in model.tests:
            if (row := _read_row(scores, records, model, test)) is not None:
                rows[model.name, test] = row
    if not rows:
        raise UserError(f"{study.folder} has no finished run: python tools/run_study.py makes them")
    return rows


def _read_row(
    scores: Mapping[tuple[str, int, str], ImageScores],
    records: Mapping[str, dict[str, Any]],
    model: Model,
    test: str,
) -> Row | None:
    recorded = {seed: records.get(Run(model, seed).name) for seed in model.seeds}
    done = {seed: left for seed, left in recorded.items() if left and test in left["scores"]}
    if not done:
        return None
    if missing := [seed for seed in done if (model.name, seed, test) not in scores]:
        raise UserError(
            f"{IMAGE_SCORES} lacks test {test} of {Run(model, missing[0]).name}; restore it, "
            "or --redo the run"
        )
    found = [scores[model.name, seed, test] for seed in done]
    columns = list(found[0])
    names = sorted(found[0][columns[0]])
    if any(sorted(one[columns[0]]) != names for one in found):
        raise UserError(f"tests of {model.name} are not of the same images: run them again")
    values = {c: np.array([[one[c][n] for n in names] for one in found]) for c in columns}
    if columns != list(SCORES):
        parts = (np.stack([values[c] for c in columns if c.endswith(p)], axis=-1) for p in PARTS)
        values = {"mIoU": np.stack([*parts], axis=-1)}
    return Row(
        model,
        test,
        values,
        list(done),
        {m: [left["collapse"].get(m, np.nan) for left in done.values()] for m in MEASURES},
    )


def study_table(study: Study, rows: Mapping[tuple[str, str], Row]) -> str:
    """A markdown table: score with its interval, of each seed, less the baseline's, and measures.

    Raises:
        UserError: The study names an unknown measure.
    """
    unknown = [measure for measure in study.measures if measure not in MEASURES]
    if unknown:
        raise UserError(f"measures of the study: {unknown[0]} is none of {', '.join(MEASURES)}")
    several = any(len(m.tests) > 1 for m in study.models.values())
    compared = any(m.baseline for m in study.models.values())
    score = next(iter(rows.values())).score
    header = [
        *study.columns,
        *(["test"] if several else []),
        "seeds",
        score,
        "of each seed",
        *([f"{score} less the baseline's"] if compared else []),
        *(["thresholded Jaccard"] if score == "Dice" else []),
        *(MEASURES[m] for m in study.measures),
    ]
    lines = []
    for (_, test), row in rows.items():
        line = [row.model.labels.get(column, "") for column in study.columns]
        line += [test] if several else []
        of_seeds = ", ".join(f"{value:.1f}" for value in row.of_seeds)
        line += [len(row.seeds), interval_cell(row.interval()), of_seeds]
        line += [_difference(row, rows)] if compared else []
        line += [f"{row.interval('TJaccard').mean:.1f}"] if score == "Dice" else []
        line += [_measure(row.collapse[m]) for m in study.measures]
        lines.append(line)
    return markdown_table(header, lines)


def interval_cell(interval: Interval, sign: str = "") -> str:
    """Mean and interval with one digit; ``sign`` is ``'+'`` for differences."""
    mean, low, high = (f"{v:{sign}.1f}" for v in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"


def _difference(row: Row, rows: Mapping[tuple[str, str], Row]) -> str:
    """Compare with the same test of the baseline, or with its first test."""
    theirs = {test: other for (model, test), other in rows.items() if model == row.model.baseline}
    if not theirs:
        return "–"
    difference = row.difference(theirs.get(row.test) or next(iter(theirs.values())))
    return "–" if difference is None else interval_cell(difference, "+")


def _measure(values: list[float]) -> str:
    known = [value for value in values if not np.isnan(value)]
    return f"{np.mean(known):.2f}" if known else "–"
