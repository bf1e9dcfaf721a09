"""Headers and names of configs, and the page and the metafile that are made of them."""

import re

import pytest
import yaml
from mmengine.config import Config

from mmseg_deepvit.command_line.config_headers import (
    metafile_of_configs,
    page_of_configs,
    read_header,
)
from mmseg_deepvit.errors import UserError

from ..conftest import ROOT
from ..tools.conftest import call_tool


def test_the_kept_page_and_metafile_are_made_of_the_headers(tmp_path, monkeypatch):
    call_tool(monkeypatch, "tools/list_configs.py", "--out-dir", tmp_path)
    for name in ("README.md", "metafile.yml"):
        kept = (ROOT / "configs" / name).read_text(encoding="utf-8")
        assert kept == (tmp_path / name).read_text(encoding="utf-8"), "run tools/list_configs.py"


def test_models_in_the_metafile():
    """Images of all GPUs together, the paper that is named first, backbone and head."""
    models = yaml.safe_load((ROOT / "configs" / "metafile.yml").read_text())["Models"]
    found = {
        model["Name"]: (model["In Collection"], *model["Metadata"].values()) for model in models
    }
    assert found["upernet_deepvit_ade20k"] == ("DeepViT", "ADE20K", 16, ["deepvit", "UPerNet"])
    assert found["linear_diverse-vit-w64-d12_isic2018-128x128"] == (
        "DiversePatch",
        "ISIC 2018",
        8,
        ["diverse-vit-w64-d12", "Linear"],
    )


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_a_config_is_short_and_its_name_says_its_sizes(path):
    """A dozen lines; w and d are width and depth, and HxW is the image's size."""
    assert len(path.read_text().splitlines()) <= 12
    config = Config.fromfile(path, import_custom_modules=False)
    backbone = config.model.backbone
    if sizes := re.search(r"-w(\d+)-d(\d+)_", path.stem):
        arch = backbone.arch if isinstance(backbone.arch, dict) else backbone
        assert (arch.embed_dims, arch.num_layers) == tuple(map(int, sizes.groups()))
    usual = {"cityscapes": (768, 768), "camvid": (352, 352), "demo": (128, 128)}
    size = usual.get(read_header(path).dataset, (512, 512))
    if named := re.search(r"-(\d+)x(\d+)$", path.stem):
        size = tuple(map(int, named.groups()))
    assert tuple(config.model.data_preprocessor.size) == tuple(config.crop_size) == size
    assert not re.search(r"-\d+(-|_|$)", path.stem), "a number that says nothing"


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
# Paper:   P, https://arxiv.org/abs/2010.11929; Q, https://arxiv.org/abs/2103.11886.
# Start:   tools/dist_train.sh configs/a.py 4
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
        ("not trained here; numbers are of the published recipe", "not trained"),
        ("Dice 88 (results/a/README.md)", "trained"),
    ],
)
def test_states(tmp_path, result, state):
    path = tmp_path / "linear_vit-w8-d2_isic2018-128x128.py"
    path.write_text(HEADER.format(result))
    header = read_header(path)
    assert header.title == "A model in two lines."
    assert header.cost == "1 M parameters"
    assert header.result == f"{result} and more."
    assert (header.state, header.dataset) == (state, "isic2018")
    assert (header.collection, header.num_gpus) == ("ViT", 4)
    assert "| [linear_vit-w8-d2_isic2018-128x128]" in page_of_configs([path], "")


def test_what_is_missing_is_named(tmp_path):
    path = tmp_path / "linear_vit_moon.py"
    path.write_text("# A model\n# Paper: P\n# Start: S\n# Cost: 1\n")
    with pytest.raises(UserError, match="no line '# Result:'"):
        page_of_configs([path], "")
    path.write_text(HEADER.format("x"))
    with pytest.raises(UserError, match="linear_vit_moon ends with none of ade20k"):
        page_of_configs([path], "")
    path = tmp_path / "linear_vit_demo.py"
    path.write_text(HEADER.format("x").replace("2010.11929", "1.2"))
    with pytest.raises(UserError, match="linear_vit_demo: its '# Paper:' begins with none"):
        metafile_of_configs([path])
