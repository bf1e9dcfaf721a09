"""The page of configs: what headers say, and whether the page that is kept says it too."""

import pytest

from mmseg_deepvit.command_line.config_headers import page_of_configs, read_header
from mmseg_deepvit.errors import UserError

from ..conftest import ROOT


def test_the_kept_page_is_that_of_the_headers():
    kept = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
    made = page_of_configs((ROOT / "configs").glob("*.py"))
    assert kept == made, "python tools/list_configs.py writes it anew"


def test_trained_ones_show_where():
    """A config that claims a result names a file that is there."""
    headers = [read_header(path) for path in (ROOT / "configs").glob("*.py")]
    trained = [header for header in headers if header.state == "trained"]
    assert trained
    for header in trained:
        named = [word.strip("(),.") for word in header.result.split() if ".md" in word]
        assert named, header
        assert all((ROOT / name).is_file() for name in named), header


HEADER = """# A model
# in two lines.
# Paper:   P.
# Cost:    1 M parameters
# Result:  {}
#          and more.
_base_ = []
# Cost: of something else
"""


@pytest.mark.parametrize(
    ("result", "state"),
    [
        ("not trained here", "not trained"),
        ("not trained here; 53.1 (published)", "published"),
        ("Dice 88 (results/a/README.md)", "trained"),
    ],
)
def test_states(tmp_path, result, state):
    path = tmp_path / "linear_vit_isic2018-128.py"
    path.write_text(HEADER.format(result))
    header = read_header(path)
    assert header.title == "A model in two lines."
    assert header.cost == "1 M parameters"
    assert header.result == f"{result} and more."
    assert (header.state, header.dataset) == (state, "isic2018")
    assert "| [linear_vit_isic2018-128]" in page_of_configs([path])


def test_what_is_missing_is_named(tmp_path):
    path = tmp_path / "linear_vit_moon.py"
    path.write_text("# A model\n# Cost: 1\n")
    with pytest.raises(UserError, match="no line '# Result:'"):
        page_of_configs([path])
    path.write_text(HEADER.format("x"))
    with pytest.raises(UserError, match="linear_vit_moon ends with none of ade20k"):
        page_of_configs([path])
