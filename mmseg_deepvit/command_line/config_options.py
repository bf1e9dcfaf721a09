"""Merge ``--cfg-options`` into a config, and refuse options that would change nothing.

mmengine adds any key. A mistyped one would leave the intended setting unchanged, without a word.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from typing import Any

from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner

from ..errors import UserError, reason

#: Keys that runners and tools read in a config, in addition to the runner's arguments.
_FURTHER_KEYS = {
    *("activation_checkpointing", "compile", "custom_imports", "efficient_conv_bn_eval", "env_cfg"),
    *("find_unused_parameters", "gpu_ids", "model_wrapper_cfg", "runner_type", "sync_bn"),
    *("test_pipeline", "tta_model", "tta_pipeline"),
}


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Override a config as mmengine does, and refuse options that are mistakes.

    A key that looks mistyped, in a part of the config that nothing checks, is a warning on stderr.

    Args:
        cfg: Config, which is changed in place.
        options: Dotted keys and values.

    Raises:
        UserError: Neither config nor runner has the key, or the value is of another kind than the
            config's: text for a number or a switch, NaN, one value for a dict of settings.
    """
    for key, value in options.items():
        _check_key(cfg, key)
        _check_value(cfg, key, value)
        _merge(deepcopy(cfg), key, {key: value})
    _merge(cfg, " ".join(options), options)
    loop = cfg.get("train_cfg") or {}
    for key in ("max_iters", "max_epochs", "val_interval"):
        if isinstance(value := loop.get(key), int | float) and value < 1:
            raise UserError(f"train_cfg.{key} must be at least 1, got {value}")


def _merge(cfg: Config, named: str, options: Mapping[str, Any]) -> None:
    try:
        cfg.merge_from_dict(dict(options))
    except Exception as error:  # assertions, KeyError and TypeError of mmengine
        raise UserError(f"--cfg-options {named}: {reason(error)}") from error


@cache
def known_keys() -> frozenset[str]:
    """Top-level keys that runners and tools read."""
    arguments = (inspect.signature(kind).parameters for kind in (Runner, FlexibleRunner))
    return frozenset(_FURTHER_KEYS).union(*arguments)


def _check_key(cfg: Config, key: str) -> None:
    first, *rest = key.split(".")
    if first not in cfg and first not in known_keys():
        raise UserError(
            f"--cfg-options {key}: neither the config nor the runner has a {first!r}"
            f"{_suggest(first, {*cfg, *known_keys()})}"
        )
    if first == "custom_imports":
        raise UserError(f"--cfg-options {key}: modules are imported with the config: set it there")
    if first not in known_keys():
        print(
            f"warning: --cfg-options {key}: the config uses {first} only while it is read, so "
            f"nothing changes{_places(cfg, key)}",
            file=sys.stderr,
        )
    place: Any = cfg.get(first)
    for part in rest:
        if isinstance(place, dict) and part not in place:
            # The class of a dict with a type takes further settings, and refuses unknown ones.
            suggestion = _suggest(part, place, 0.85 if "type" in place else 0.75)
            if suggestion:
                print(f"warning: --cfg-options {key} is new{suggestion}", file=sys.stderr)
        place = _inside(place, part)


def _check_value(cfg: Config, key: str, value: Any) -> None:
    old: Any = cfg
    for part in key.split("."):
        old = _inside(old, part)
    if isinstance(value, float) and math.isnan(value):
        raise UserError(f"--cfg-options {key}={value}: give a number")
    if isinstance(old, dict) and value is not None and not isinstance(value, dict):
        raise UserError(
            f"--cfg-options {key}={value}: it is a dict of settings ({', '.join(list(old)[:4])}, "
            "…): set one of them"
        )
    is_number = isinstance(old, int | float)
    if is_number and isinstance(value, str):
        what = "True or False" if isinstance(old, bool) else "a number"
        raise UserError(f"--cfg-options {key}={value}: expected {what}, it is {old} in the config")


def _inside(place: Any, part: str) -> Any:
    """The setting that a part of a key names, None if it is missing."""
    if isinstance(place, list | tuple) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    return place.get(part) if isinstance(place, dict | Config) else None


def _places(cfg: Config, key: str) -> str:
    """Other places of settings with that name, for the warning."""
    last = key.split(".")[-1]
    found = [f"{k}.{p}" for k in known_keys() if k in cfg for p in _paths(cfg[k], last)]
    return f" (is {' or '.join(sorted(found)[:3])} meant?)" if found else ""


def _paths(place: Any, name: str) -> Iterator[str]:
    for key, value in place.items() if isinstance(place, dict) else ():
        if key == name:
            yield key
        yield from (f"{key}.{below}" for below in _paths(value, name))


def _suggest(name: str, known: Iterable[str], cutoff: float = 0.75) -> str:
    close = get_close_matches(name, map(str, known), n=1, cutoff=cutoff)
    return f": did you mean {close[0]}?" if close else ""
