"""A real browser and a real server for the tests of the page."""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

from ..conftest import ROOT

#: Folder that the tests write screenshots to, if it is set.
SCREENSHOTS = os.environ.get("MMSEG_DEEPVIT_SCREENSHOTS")
#: Names under which distributions install the browser.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

_MAKE_FILE = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  return transfer;
}"""


def find_browser():
    """Path of the browser, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def serving(*arguments, timeout=300):
    """The tool as a process; its address. It must end cleanly at Ctrl-C."""
    env = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    command = [sys.executable, "tools/explore.py", *map(str, arguments), "--no-browser"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines, address = [], Queue()

    def read():
        for line in process.stdout:
            lines.append(line)
            if found := re.match(r"explorer: (http\S+)", line):
                address.put(found[1])
        address.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        found = address.get(timeout=timeout)
        assert found, "".join(lines)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        try:
            status = process.wait(30)
        finally:
            process.kill()
        reader.join()
    said = "".join(lines)
    assert status in (0, 130), said
    assert "Traceback" not in said, said


def drop(page, name, data):
    """Drop a file onto the page, as a desktop does."""
    transfer = page.evaluate_handle(_MAKE_FILE, [name, base64.b64encode(data).decode()])
    page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})


def screenshot(page, name, full_page=True):
    """Write a screenshot to the folder that was asked for."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # ripples and tooltips end
    page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=full_page)
