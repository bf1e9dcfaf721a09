import os
import sys

import pytest

from mmseg_deepvit.command_line.running import TRACEBACK_VARIABLE, one_line, run
from mmseg_deepvit.errors import UserError


def test_user_errors_are_one_line_and_status_2(capsys, monkeypatch):
    def fail():
        raise UserError("a thing\n is wrong:   mend it")

    monkeypatch.delenv(TRACEBACK_VARIABLE, raising=False)
    with pytest.raises(SystemExit) as caught:
        run(fail)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: a thing is wrong: mend it\n"
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    with pytest.raises(UserError):
        run(fail)


def test_other_errors_keep_their_traceback():
    def fail():
        raise RuntimeError("a bug of ours")

    with pytest.raises(RuntimeError):
        run(fail)


@pytest.mark.parametrize("status", [0, 1, None])
def test_the_status_of_the_tool(status):
    with pytest.raises(SystemExit) as caught:
        run(lambda: status)
    assert caught.value.code == status


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("buffering", [1, -1], ids=["by line", "by block"])
@pytest.mark.parametrize("end", [lambda: 0, lambda: sys.exit(0)])
def test_standard_output_on_a_full_device(monkeypatch, capsys, buffering, end):
    """Told whether the buffer is written while the tool runs or when it ends."""
    with open("/dev/full", "w", buffering) as full:
        monkeypatch.setattr(sys, "stdout", full)

        def main():
            print("a result")
            return end()

        with pytest.raises(SystemExit) as caught:
            run(main)
        monkeypatch.undo()
    assert caught.value.code == 2
    said = (
        "error: standard output cannot be written to (No space left on device): send it elsewhere"
    )
    assert capsys.readouterr().err == said + "\n"


def test_errors_from_workers_are_unwrapped():
    text = (
        "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call):\n"
        "  File 'x.py', line 1\nmmseg_deepvit.errors.UserError: x.png is no mask: replace it"
    )
    for kind in (RuntimeError, UserError):  # PyTorch raises the same type where it can
        assert one_line(kind(text)) == "x.png is no mask: replace it"
    full = OSError(28, "No space left on device", "work_dirs/x")
    assert one_line(full).startswith("the disk is full (No space left on device): make room or")
    missing = FileNotFoundError(2, "No such file or directory", "data/x")
    assert one_line(missing).startswith("data/x does not exist: ")


def test_errors_of_files_and_memory():
    assert one_line(IsADirectoryError(21, "Is a directory", "x")).startswith("x cannot be used (Is")
    assert "the disk is full" in one_line(OSError(28, "No space left on device"))
    for text in ("CUDA out of memory. Tried", "[enforce fail] can't allocate memory: you"):
        assert "not enough memory" in one_line(RuntimeError(text))
    assert "worker process" in one_line(
        RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly")
    )
    assert one_line(RuntimeError("a bug of ours")) is None
    assert one_line(OSError("without a file")) is None
