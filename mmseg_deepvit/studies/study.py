"""A study's file: its models, options, seeds and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError

#: Tests of a study that names none: one without options.
DEFAULT_TESTS: dict[str, list[str]] = {"test": []}


@dataclass(frozen=True)
class Model:
    """One model of a study.

    Attributes:
        name: Name, unique in the study, usable as a file name.
        config: Path of its config.
        options: Keys and values for ``--cfg-options``, those of the study included.
        labels: Cells of the table by column; the first number is the figure's x axis.
        baseline: Model that it is compared with, image by image and seed by seed; None for none.
        tests: Arguments of ``tools/test.py`` by the test's name; tables begin with the first test.
        train: Further arguments of ``tools/train.py``, as ``['--ema', '0.003']``.
        seeds: Seeds; each is a run.
    """

    name: str
    config: str
    options: Mapping[str, Any]
    labels: Mapping[str, Any]
    baseline: str | None
    tests: Mapping[str, Sequence[str]]
    train: Sequence[str]
    seeds: Sequence[int]


@dataclass(frozen=True)
class Run:
    """A model with a seed."""

    model: Model
    seed: int

    @property
    def name(self) -> str:
        """Name of the record and of the work dir."""
        return f"{self.model.name}-seed{self.seed}"

    @property
    def options(self) -> dict[str, Any]:
        """All settings in addition to the config, the seed included."""
        return {**self.model.options, "randomness.seed": self.seed}

    @property
    def option_words(self) -> list[str]:
        """These settings as words of a command line."""
        return ["--cfg-options", *(f"{key}={value}" for key, value in self.options.items())]

    @property
    def train_words(self) -> list[str]:
        """Arguments of ``tools/train.py`` after the config."""
        return [*self.model.train, *self.option_words]


@dataclass(frozen=True)
class Study:
    """Models to be compared.

    Attributes:
        folder: Folder of the study's file, which gets the results.
        title: Question of the study.
        models: Models by name, in the order of the table.
        measures: Names of measures of collapse that tables show.
        cases: Run whose best and worst cases are drawn, as ``'deepvit-seed0'``; None for none.
    """

    folder: Path
    title: str
    models: Mapping[str, Model]
    measures: Sequence[str] = field(default_factory=list)
    cases: str | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the labels, in order."""
        return list(dict.fromkeys(key for m in self.models.values() for key in m.labels))

    @property
    def runs(self) -> list[Run]:
        """All runs, the first seed of every model before the second seed of any."""
        seeds = list(dict.fromkeys(s for m in self.models.values() for s in m.seeds))
        return [Run(m, s) for s in seeds for m in self.models.values() if s in m.seeds]


def read_study(path: str) -> Study:
    """Read a study's file, YAML of these keys.

    ``title``; ``models``, by name, each with ``config`` and maybe ``options``, ``labels``,
    ``baseline``, ``seeds``, ``tests``, ``train``; and, for all models, ``options``, ``seeds``
    ([0]), ``tests`` (``{test: []}``); ``measures`` that tables show; ``cases``, the run that is
    drawn.

    Args:
        path: The file.

    Raises:
        UserError: There is no such file, or it is no study; one line names the key.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"study {path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"study {path} is no YAML file ({error})") from error
    try:
        return _study(Path(path).parent, _mapping(content, "the file"))
    except (TypeError, ValueError) as error:
        raise UserError(f"study {path}: {error}") from error


def _study(folder: Path, content: Mapping[str, Any]) -> Study:
    known = {"title", "models", "options", "seeds", "tests", "measures", "cases"}
    _refuse_unknown(content, known, "it")
    shared = {key: content[key] for key in ("seeds", "tests") if key in content}
    options = _mapping(content.get("options", {}), "options")
    models = {
        str(name): _model(str(name), {**shared, **_mapping(model, f"models.{name}")}, options)
        for name, model in _mapping(content.get("models"), "models").items()
    }
    for model in models.values():
        if model.baseline is not None and model.baseline not in models:
            raise ValueError(f"baseline {model.baseline} of {model.name} is no model of it")
    title, cases = str(content.get("title", folder.name)), content.get("cases")
    study = Study(folder, title, models, list(content.get("measures", [])), cases)
    if cases is not None and cases not in [run.name for run in study.runs]:
        raise ValueError(f"cases must name a run of it, as {study.runs[0].name}, got {cases!r}")
    return study


def _model(name: str, content: Mapping[str, Any], options: Mapping[str, Any]) -> Model:
    known = {"config", "options", "labels", "baseline", "seeds", "tests", "train"}
    _refuse_unknown(content, known, f"models.{name}")
    if "/" in name or not isinstance(content.get("config"), str):
        raise ValueError(f"models.{name} needs a name without / and a config")
    seeds = content.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(isinstance(s, int) for s in seeds):
        raise ValueError(f"seeds of {name} must be a list of integers, got {seeds!r}")
    tests = _mapping(content.get("tests", DEFAULT_TESTS), f"tests of {name}")
    if not tests or not all(isinstance(words, list) for words in tests.values()):
        raise ValueError(f"tests of {name} must map names to lists of arguments, got {tests!r}")
    train = content.get("train", [])
    if not isinstance(train, list):
        raise ValueError(f"train of {name} must be a list of arguments, got {train!r}")
    return Model(
        name,
        content["config"],
        {**options, **_mapping(content.get("options", {}), f"options of {name}")},
        _mapping(content.get("labels", {"model": name}), f"labels of {name}"),
        content.get("baseline"),
        tests,
        [str(word) for word in train],
        seeds,
    )


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} must map names to values, got {type(value).__name__}")
    return value


def _refuse_unknown(content: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := sorted(map(str, set(content) - known)):
        raise ValueError(f"{what} has {unknown[0]}, and takes {', '.join(sorted(known))}")
