import argparse
import os
import sys

import pytest
from mmseg.models.decode_heads import FCNHead

from mmseg_deepvit.command_line.cli import (
    TRACEBACK_VARIABLE,
    add_config_options,
    check_out,
    config_errors,
    load_config,
    one_line,
    run,
)
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.stack import find_stack


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


@pytest.mark.parametrize("option", ["a", "a=[{'b':1,'c':(2,3)}]"])
def test_options_that_cannot_be_read(capsys, option):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--cfg-options", option])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"--cfg-options {option}: expected KEY=VALUE" in last


def test_options_that_can_be_read():
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    args = parser.parse_args(["--cfg-options", "a.b=3", "c=[1,2]", "d=(x,0.5)"])
    assert args.cfg_options == {"a.b": 3, "c": [1, 2], "d": ("x", 0.5)}


def test_config_errors_name_the_config():
    with pytest.raises(UserError, match=r"config c\.py: no such class"), config_errors("c.py"):
        raise KeyError("no such class")
    with pytest.raises(UserError, match=r"^plain$"), config_errors("c.py"):
        raise UserError("plain")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = dict(", "cannot be read .*SyntaxError|was never closed"),
        ("_base_ = 'nothing.py'", "cannot be read"),
        ("x = 1", "has no model"),
    ],
)
def test_configs_that_are_none(tmp_path, text, message):
    path = tmp_path / "c.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(str(path))
    with pytest.raises(UserError, match="does not exist"):
        load_config(str(tmp_path / "nowhere.py"))


def test_places_to_write_to(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in ("new", "new/below", "."):
        assert check_out(str(tmp_path / path), "--out", is_folder=True) == tmp_path / path
    for path in ("file", "new.txt", "new/new.txt"):
        assert check_out(str(tmp_path / path), "--out", is_folder=False) == tmp_path / path
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing is made"
    for path, is_folder, said in (
        (tmp_path / "file", True, "is a file: name a folder"),
        (tmp_path, False, "is a folder: name a file in it"),
        (tmp_path / "file/x", True, "file is a file"),
        (tmp_path / "file/x/y", False, "file is a file"),
        ("", True, "--out is empty"),
        (" ", False, "--out is empty"),
        ("a\0b", True, "is no name"),
        ("x" * 5000, False, "is no name"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            check_out(str(path), "--out", is_folder)
        assert len(str(caught.value)) < 400


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


@pytest.mark.parametrize("wrapped", [False, True])
def test_assertions_without_a_message_say_what_they_wanted(wrapped):
    """mmseg's linear head whose channels were left as they were."""

    def build():
        try:
            FCNHead(in_channels=96, channels=64, num_classes=2, num_convs=0, concat_input=False)
        except AssertionError as error:
            if not wrapped:
                raise
            # As OpenMMLab's registries do.
            raise AssertionError(f"class `FCNHead` in x.py: {error}") from error

    expected = (
        r"^config c\.py: FCNHead needs in_channels == channels, and the config gives "
        r"in_channels=96, channels=64: set them to fit \("
    )
    with pytest.raises(UserError, match=expected), config_errors("c.py"):
        build()


def test_bases_of_a_package_that_mmengine_does_not_find(tmp_path):
    """OneDL's distributions have other names than OpenMMLab's, which mmengine asks for."""
    if find_stack() != "onedl":
        pytest.skip("OpenMMLab's own packages are found")
    path = tmp_path / "c.py"
    for base, said in (
        ("mmseg::_base_/models/upernet_swin.py", r"name the file itself, /.*/upernet_swin\.py$"),
        ("mmseg::no/none.py", r"none\.py is looked for .*: copy that config beside it$"),
    ):
        path.write_text(f"_base_ = {base!r}\n")
        with pytest.raises(UserError, match=said):
            load_config(str(path))
    path.write_text("_base_ = 'mmseg::_base_/models/upernet_swin.py'\n")
    with pytest.raises(UserError) as caught:
        load_config(str(path))
    place = str(caught.value).rpartition(" ")[2]
    path.write_text(f"_base_ = {place!r}\n")
    assert load_config(str(path)).model.decode_head.type == "UPerHead"
