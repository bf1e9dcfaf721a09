"""Run one of our tools from another: show its progress, and keep its output."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError


def run_tool(tool: Path, arguments: Sequence[object], log: Path) -> None:
    """Run a tool as a process.

    Args:
        tool: Path of a file of ``tools/``; it runs in the folder above.
        arguments: Words of its command line.
        log: Path of the file that gets its output.

    Raises:
        UserError: The tool failed; the message names the log and has the tool's error.
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
    """The text to show for a line that a tool printed, None for nothing."""
    step = re.search(r"Iter\(train\) \[ *(\d+/\d+)\].* eta: (\S+).*  loss: (\S+)", line)
    if step:
        return f"iteration {step[1]:>9}   loss {step[3]}   {step[2]} to go"
    return line.rstrip() if "images segmented" in line else None


def newest_scores(work_dir: Path) -> Path:
    """The JSON file of scores that the last test in a folder wrote.

    Raises:
        UserError: There is none.
    """
    files = list(work_dir.glob("*/*.json"))
    if not files:
        raise UserError(f"{work_dir} holds no scores: was the test run?")
    return max(files, key=lambda path: path.stat().st_mtime)
