"""Our own tools run by other tools: each a process, its progress shown, its output kept."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError


def run_tool(tool: Path, arguments: Sequence[object], log: Path) -> None:
    """Run a tool; its progress is shown, everything it says goes to a log.

    Args:
        tool: A file of ``tools/``; it runs in the folder above.
        arguments: Its command line.
        log: Where its output goes.

    Raises:
        UserError: It failed; the message names the log, and its error if it told one.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"\n$ tools/{tool.name} {' '.join(map(str, arguments[:2]))} …", flush=True)
    told = ""
    with (
        log.open("w") as file,
        subprocess.Popen(
            [sys.executable, tool, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tool.parents[1],
        ) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            if line.startswith("error: "):
                told = f" ({line.removeprefix('error: ').strip()})"
            elif shown := _progress(line):
                print(f"  {shown}", flush=True)
    if process.returncode:
        raise UserError(
            f"tools/{tool.name} failed with status {process.returncode}{told}: see {log}"
        )


def _progress(line: str) -> str | None:
    """What to show of a line that a tool printed, or None."""
    step = re.search(r"Iter\(train\) \[ *(\d+/\d+)\].* eta: (\S+).*  loss: (\S+)", line)
    if step:
        return f"iteration {step[1]:>9}   loss {step[3]}   {step[2]} to go"
    return line.rstrip() if "images segmented" in line else None


def newest_scores(work_dir: Path) -> Path:
    """The JSON file of scores that the last test below a folder wrote.

    Raises:
        UserError: There is none.
    """
    files = list(work_dir.glob("*/*.json"))
    if not files:
        raise UserError(f"{work_dir} holds no scores: was the test run?")
    return max(files, key=lambda path: path.stat().st_mtime)
