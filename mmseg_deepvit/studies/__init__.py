"""Studies: models trained alike with several seeds, records of their runs, tables and figures."""

from .. import require_stack  # noqa: F401
from .record import accept_record, find_records, record_run
from .report import write_report
from .study import Model, Run, Study, read_study
from .trained_models import trained_models

__all__ = [
    "Model",
    "Run",
    "Study",
    "accept_record",
    "find_records",
    "read_study",
    "record_run",
    "trained_models",
    "write_report",
]
