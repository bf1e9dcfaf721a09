"""Checks of a data set before training: its counts, and every bad file."""

from .contact_sheet import draw_contact_sheet
from .report import bad_file_lines, summary
from .survey import Survey, build_datasets, leaf_configs, survey_dataset

__all__ = [
    "Survey",
    "bad_file_lines",
    "build_datasets",
    "draw_contact_sheet",
    "leaf_configs",
    "summary",
    "survey_dataset",
]
