"""Runs only where MLflow is installed, which is large."""

import sqlite3

import pytest

from .conftest import run_tool, tiny_options

pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")


def test_the_run_is_in_the_work_dir(there, tmp_path):
    command = ("tools/train.py", there.cfg, "--work-dir", tmp_path, "--log-to", "mlflow")
    result = run_tool(*command, "--val-loss", "--cfg-options", *tiny_options(there.root))
    assert result.returncode == 0, result.stderr[-3000:]
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        scores = dict(connection.execute("select key, value from latest_metrics"))
        settings = dict(connection.execute("select key, value from params"))
        experiments = [name for (name,) in connection.execute("select name from experiments")]
    assert 0 <= scores["mIoU"] <= 100
    assert scores["val/loss"] == pytest.approx(scores["val/loss_ce"] + scores["val/loss_dice"])
    assert settings["model.backbone.type"] == "DeepViT"
    assert tmp_path.name in experiments
