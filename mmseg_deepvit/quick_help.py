"""Show a tool's help at once, without the imports of PyTorch and the stack that take seconds."""

from __future__ import annotations

import sys
from pathlib import Path

#: Folders of our tools in a checkout and in a wheel.
_TOOLS = (Path(__file__).parents[1] / "tools", Path(__file__).parent / ".mim" / "tools")


def only_help() -> bool:
    """Whether this process is one of our tools, started for its help alone."""
    given = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is None or {"-h", "--help"}.isdisjoint(given):
        return False
    folder = Path(script).resolve().parent
    return any(folder == tools.resolve() for tools in _TOOLS)
