import argparse

import pytest

from mmseg_deepvit.command_line import add_config_options


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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/my data/ISIC (old) 2018", "/my data/ISIC (old) 2018"),
        ("[ 1, 2 ]", [1, 2]),
        ("1, 2", [1, 2]),
        ("[(a b, 3), 'c d' ]", [("a b", 3), "c d"]),
        (" 3 ", 3),
        ("", ""),
    ],
)
def test_spaces_within_values_stay(value, expected):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    args = parser.parse_args(["--cfg-options", "a=1", "--cfg-options", f"b={value}"])
    assert args.cfg_options == {"a": 1, "b": expected}
