"""Read configurations in checkpoint files without running them: only literals count."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from typing import Any

_BUILDERS = {"dict": dict, "list": list, "set": set, "tuple": tuple}
#: Prefix of this package's modules, whose import runs nothing of a file.
_OURS = f"{__name__.partition('.')[0]}."
#: Errors by which the parsing of a hostile text ends.
_PARSING = (TypeError, ValueError, AttributeError, SyntaxError, RecursionError, MemoryError)


def read_config(text: Any) -> dict[str, Any] | None:
    """All settings of a config that only gives names to literals; None for any other text.

    A config that imports modules of others, which are not imported yet, is none either.

    Args:
        text: Text of the config, as ``Config.pretty_text`` dumps it.
    """
    try:
        if "{{" in text:  # mmengine puts environment variables and other files there
            return None
        values: dict[str, Any] = {}
        for statement in ast.parse(text).body:
            if not isinstance(statement, ast.Assign):
                return None
            for target in statement.targets:
                if not isinstance(target, ast.Name) or target.id in ("_base_", *_BUILDERS):
                    return None
                values[target.id] = _literal(statement.value)
        known = all(name in sys.modules or name.startswith(_OURS) for name in imports_of(values))
        return values if known else None
    except _PARSING:
        return None


def imports_of(values: Mapping[str, Any]) -> list[str]:
    """Modules that a config imports by ``custom_imports``."""
    imports = (values.get("custom_imports") or {}).get("imports") or []
    return [imports] if isinstance(imports, str) else list(imports)


def is_plain_config(text: Any) -> bool:
    """Whether :func:`read_config` reads a text."""
    return read_config(text) is not None


def read_setting(text: Any, name: str) -> Any:
    """The literal that a config gives to a name, or None.

    Args:
        text: Text of the config, as ``Config.pretty_text`` dumps it; anything else gives None.
        name: Name of a setting at the top.
    """
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign):
                targets = [t.id for t in statement.targets if isinstance(t, ast.Name)]
                if name in targets:
                    return _literal(statement.value)
    except _PARSING:
        pass
    return None


def _literal(node: ast.expr) -> Any:
    """Value of a literal or of ``dict(a=1)``; ValueError for anything else."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in _BUILDERS:
            raise ValueError("a call")
        named = {str(k.arg): _literal(k.value) for k in node.keywords}
        return _BUILDERS[node.func.id](*map(_literal, node.args), **named)
    if isinstance(node, ast.Dict):
        keys = [_literal(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_literal, node.values), strict=True))
    if isinstance(node, ast.List | ast.Tuple):
        parts = [_literal(part) for part in node.elts]
        return parts if isinstance(node, ast.List) else tuple(parts)
    return ast.literal_eval(node)
