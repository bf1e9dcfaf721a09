"""The config inside a checkpoint, read without running anything that the file names.

mmengine saves each run's config as Python code, and its registries import whatever module a
``type`` names. Here the text must be literals, and each ``type`` a class that is registered.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmseg.registry import DATASETS, MODELS, TRANSFORMS

from ..checkpoints import Checkpoint
from ..checkpoints.config_literals import imports_of, read_config

#: Parts of a config that prediction uses; nothing else of the file is kept.
_PARTS = ("model", "test_pipeline", "test_dataloader", "tta_model", "tta_pipeline")
_REMEDY = "give the config of its training by config=, or --config"


def saved_config(checkpoint: Checkpoint) -> Config:
    """Read the config that a training run saved in its checkpoint.

    Args:
        checkpoint: Content of the file.

    Returns:
        The parts that prediction needs. Modules of this package that it imports are imported.

    Raises:
        CheckpointError: There is none, it is more than literals, or it names a class that is not
            registered.
    """
    text = checkpoint.meta.get("cfg")
    if text is None:
        raise checkpoint.error("holds no config", _REMEDY)
    values = read_config(text)
    if values is None:
        raise checkpoint.error(
            "holds a config that is more than plain data, or that imports modules of others, and "
            "no code of a file is run",
            f"import those modules first, or {_REMEDY}",
        )
    if not isinstance(values.get("model"), dict):
        raise checkpoint.error("holds a config without model", _REMEDY)
    for module in imports_of(values):  # ours, or imported already
        import_module(module)
    parts = {name: _checked(values[name], checkpoint) for name in _PARTS if name in values}
    loader = parts.get("test_dataloader")
    if isinstance(loader, dict):  # classes, palette and pipeline; no sampler
        parts["test_dataloader"] = {"dataset": loader.get("dataset") or {}}
    return Config(parts)


def _checked(value: Any, checkpoint: Checkpoint) -> Any:
    """A copy of a part of a config in which every ``type`` is the name of a registered class."""
    if isinstance(value, list | tuple):
        return type(value)(_checked(part, checkpoint) for part in value)
    if not isinstance(value, dict):
        return value
    copy = {k: _checked(v, checkpoint) for k, v in value.items() if k != "_scope_"}
    if isinstance(named := copy.get("type"), str):
        copy["type"] = _registered(named, checkpoint)
    return copy


def _registered(named: str, checkpoint: Checkpoint) -> str:
    """Name of a class in its registry; other names stay where a registry can import nothing."""
    scope, _, name = named.rpartition(".")
    registries: list[Registry] = [MODELS, TRANSFORMS, DATASETS]
    registries += [parent for one in registries if (parent := one.parent) is not None]
    if any(name in registry.module_dict for registry in registries):
        return name
    if scope or _is_module(named):
        raise checkpoint.error(
            f"holds a config that names {named}, which is not registered here",
            f"import the package that registers it, or {_REMEDY}",
        )
    return named


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # an empty name, or a null character
        return True
