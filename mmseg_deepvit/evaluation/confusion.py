"""The confusion matrix of all images, and scores of each class that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from mmseg.registry import METRICS
from numpy.typing import NDArray

from ..errors import UserError
from .confusion_files import MATRIX, PICTURE, SCORES, write_matrix, write_picture, write_scores
from .overlap import confusion_table
from .scored_pixels import class_names, read_sample


@dataclass(frozen=True)
class _Cells:
    """The cells of one image's matrix that are not zero: few of many.

    Attributes:
        place: Index in the flattened matrix, (N,).
        pixels: Number of pixels, (N,).
    """

    place: NDArray[np.int64]
    pixels: NDArray[np.int64]


@METRICS.register_module()
class ConfusionMetric(BaseMetric):
    """Writes a confusion matrix, as numbers and as a picture, and a table of the classes' scores.

    The pixels of all images are added up. With several processes no image counts twice. Files of
    an earlier evaluation are replaced: :data:`~.confusion_files.MATRIX`,
    :data:`~.confusion_files.SCORES` and :data:`~.confusion_files.PICTURE`.

    Args:
        out_dir: Folder for the files, made if missing; None for that of the run's log.
        ignore_index: Label of pixels that do not count.
        **kwargs: ``collect_device`` and ``collect_dir`` of mmengine's ``BaseMetric``.
    """

    default_prefix = "confusion"

    def __init__(self, out_dir: str | None = None, ignore_index: int = 255, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.ignore_index = ignore_index

    def score_names(self) -> list[str]:
        """List the names of results: none, as all is in files."""
        return []

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count the pixels of a batch.

        Args:
            data_batch: Unused.
            data_samples: What :func:`~mmseg_deepvit.evaluation.scored_pixels.read_sample` takes.

        Raises:
            UserError: Prediction and truth differ in size, the truth is missing, or a label is no
                class.
        """
        count = len(class_names(self.dataset_meta))
        for sample in data_samples:
            prediction, truth, valid = read_sample(sample, count, self.ignore_index)
            cells = confusion_table(prediction[valid], truth[valid], count).ravel()
            index = np.flatnonzero(cells)
            self.results.append(_Cells(index, cells[index]))

    def compute_metrics(self, results: list[_Cells]) -> dict[str, float]:
        """Add up all images and write the files; runs in the main process.

        Args:
            results: Cells of each image of the dataset, from all processes.

        Returns:
            No scores.

        Raises:
            UserError: A file cannot be written.
        """
        classes = class_names(self.dataset_meta)
        table = np.zeros((len(classes), len(classes)), dtype=np.int64)
        for cells in results:
            table.flat[cells.place] += cells.pixels
        log = MMLogger.get_current_instance().log_file
        folder = self.out_dir or Path(log or "").parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_matrix(folder / MATRIX, classes, table)
            write_scores(folder / SCORES, classes, table)
            write_picture(folder / PICTURE, classes, table)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written ({error.strerror}); give another folder"
            ) from error
        print_log(f"{MATRIX}, {SCORES} and {PICTURE} are in {folder}", "current")
        return {}
