import pytest
from mmengine.config import Config

from mmseg_deepvit.checkpoints.config_literals import is_plain_config, read_setting

from ..conftest import ROOT


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a = dict(b=[1, -2.5, None], c=('x', True), d={'e': {1}})\nf = 'g'", True),
        ("custom_imports = dict(imports=['mmseg_deepvit'], allow_failed_imports=False)", True),
        ("custom_imports = dict(imports=['mmseg_deepvit.safe_loading.installed'])", True),
        ("custom_imports = dict(imports=['mmseg_deepvit_of_others'])", False),
        ("", True),
        ("custom_imports = dict(imports=['antigravity'])", False),
        ("custom_imports = dict(imports='antigravity')", False),
        ("import os", False),
        ("a = open('x')", False),
        ("a = dict(b=[__import__('os')])", False),
        ("a = ().__class__", False),
        ("a = [x for x in (1,)]", False),
        ("a = f'{open}'", False),
        ("dict = 3", False),
        ("_base_ = 'evil.py'", False),
        ("a = '{{fileDirname}}'", False),
        ("a.b = 3", False),
        ("a = (", False),
        ("a = '\0'", False),
        ("a = " + "(" * 999 + ")" * 999, False),
        (b"a = 3", False),
        (None, False),
    ],
)
def test_which_configurations_are_data(text, plain):
    assert is_plain_config(text) is plain


@pytest.mark.parametrize("name", ["upernet_deepvit_ade20k", "upernet_cait-s24_cityscapes"])
def test_our_own_configurations_are_data(name):
    assert is_plain_config(Config.fromfile(ROOT / "configs" / f"{name}.py").pretty_text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("import os\na = dict(b=[1, -2.5])\n", {"b": [1, -2.5]}),
        ("b = 3", None),
        ("a = open('x')", None),
        ("a = (", None),
        ({"a": 1}, None),
        (None, None),
    ],
)
def test_reads_one_setting(text, value):
    assert read_setting(text, "a") == value
