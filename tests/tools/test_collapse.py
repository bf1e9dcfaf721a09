"""Measures of collapse, in training and after it, on real images."""

import json

import pytest
import torch

from mmseg_deepvit.checkpoints import read_checkpoint
from mmseg_deepvit.errors import UserError

from ..conftest import ROOT
from .conftest import CONFIG, SMALL, assert_one_line, call_tool, run_tool

TOOL = "tools/analyze_collapse.py"


def test_training_with_measures_is_the_same_to_the_bit(trained, tmp_path):
    """Same seed, same data, same weights; the curves are in the log."""
    command = ("tools/train.py", CONFIG, "--work-dir", tmp_path, "--collapse", 1)
    result = run_tool(*command, "--cfg-options", *SMALL)
    assert result.returncode == 0, result.stderr[-3000:]
    ours, theirs = read_checkpoint(tmp_path / "iter_2.pth"), read_checkpoint(trained.checkpoint)
    for part in ("state_dict", "optimizer"):
        assert same(ours[part], theirs[part])
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    measured = [r for r in records if "collapse/entropy" in r]
    assert [r["step"] for r in measured] == [0, 1, 2]
    assert all(0 <= r["collapse/patch_similarity"] <= 1 for r in measured)
    assert measured[0]["collapse/entropy"] != measured[2]["collapse/entropy"]
    assert "Measures of collapse took" in result.stdout + result.stderr


def same(ours, theirs):
    if isinstance(ours, torch.Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


def test_hook_refuses_what_makes_no_sense(tmp_path):
    command = ("tools/train.py", CONFIG, "--work-dir", tmp_path, "--collapse", 0)
    assert_one_line(run_tool(*command, "--cfg-options", *SMALL), "--collapse", "from 1 on, got 0")


@pytest.fixture(scope="module")
def report(trained, tmp_path_factory):
    """Two models, one of them as training begins, on two real images of different sizes."""
    out = tmp_path_factory.mktemp("collapse") / "new" / "report"
    result = run_tool(
        *(TOOL, CONFIG, trained.checkpoint, "--compare", CONFIG, "--out", out),
        *("--images", trained.images, "--num-images", 2, "--cfg-options", *SMALL),
        "model.backbone.init_cfg=None",
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return out, result


def test_report(report):
    out, result = report
    content = json.loads((out / "collapse.json").read_text())
    assert content["images"] == 2
    names = ["upernet_deepvit_ade20k", "upernet_deepvit_ade20k 2"]
    assert list(content["models"]) == names
    for model in content["models"].values():
        assert len(model["mean"]["similarity_P_k1"]) == 4
    assert f"| {names[1]} | 4" in result.stdout
    assert "Initialized" not in result.stdout + result.stderr
    page = (out / "report.html").read_text()
    pictures = list(out.glob("*.png"))
    assert len(pictures) == 7
    assert page.count("data:image/png;base64,") == 7
    assert "http" not in page.split("<img")[0].replace("http://www.w3.org", "")
    assert all(picture.stat().st_size > 5000 for picture in pictures)


def test_timm_and_swin(tmp_path):
    """timm's model with a checkpoint of its own; a config whose backbone is Swin."""
    import timm

    name = "vit_tiny_patch16_224"
    torch.save(timm.create_model(name).state_dict(), tmp_path / "vit.pth")
    swin = "configs/upernet_diversepatch-swin-l_ade20k.py"
    small = ["embed_dims=12", "depths=(1,1,3,1)", "num_heads=(1,2,2,4)", "init_cfg=None"]
    result = run_tool(
        *(TOOL, f"timm://{name}", tmp_path / "vit.pth", "--compare", swin, "--no-cka"),
        *("--out", tmp_path / "out", "--images", "results", "--num-images", 1, "--shape", 224),
        *("--names", "ViT", "Swin", "--cfg-options", *(f"model.backbone.{x}" for x in small)),
    )
    assert result.returncode == 0, result.stderr[-3000:]
    models = json.loads((tmp_path / "out" / "collapse.json").read_text())["models"]
    assert [len(model["layers"]) for model in models.values()] == [12, 6]


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (["none.py"], ["config none.py does not exist"]),
        ([CONFIG, "none.pth"], ["none.pth"]),
        (["timm://no_such_vit"], ["timm has no model no_such_vit"]),
        (["timm://resnet18", "none.pth"], ["timm://resnet18 has no list of blocks"]),
        ([CONFIG, "--images", "nowhere.jpg"], ["image nowhere.jpg does not exist"]),
        ([CONFIG, "--names", "a", "--out", "README.md"], ["README.md is a file"]),
        ([CONFIG, "--compare", CONFIG, "--names", "a", "a"], ["--names must differ"]),
    ],
)
def test_bad_input(command, parts, tmp_path, monkeypatch):
    """The options come before --cfg-options, which takes all that follows."""
    at = 2 if "none.pth" in command else 1
    options = [] if "--out" in command else ["--out", tmp_path / "out"]
    options += [] if "--images" in command else ["--images", "results"]
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError) as error:
        call_tool(monkeypatch, TOOL, *command[:at], *options, *command[at:])
    assert all(part in str(error.value) for part in parts)
    assert not (tmp_path / "out").exists()


def test_a_model_without_attention(tmp_path, monkeypatch):
    config = tmp_path / "resnet.py"
    model = dict(backbone=dict(_delete_=True, type="ResNet", depth=18))
    config.write_text(f"_base_ = {str(ROOT / CONFIG)!r}\nmodel = {model!r}\n")
    images = ROOT / "results/isic2018-128"
    with pytest.raises(UserError, match="ResNet has no attention maps"):
        call_tool(monkeypatch, TOOL, config, "--images", images, "--out", tmp_path / "out")


def test_a_checkpoint_that_does_not_fit(trained, tmp_path):
    result = run_tool(TOOL, CONFIG, trained.checkpoint, "--out", tmp_path / "out")
    assert_one_line(result, str(trained.checkpoint))
    assert not (tmp_path / "out").exists()
