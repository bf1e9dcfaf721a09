"""Studies: models trained alike with several seeds, what each run leaves, tables made of that."""

from .record import record_run, recorded
from .report import write_report
from .study import Model, Run, Study, read_study

__all__ = ["Model", "Run", "Study", "read_study", "record_run", "recorded", "write_report"]
