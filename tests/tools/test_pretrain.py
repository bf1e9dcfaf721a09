import sys

import pytest
import timm.task

from mmseg_deepvit.errors import UserError

from .conftest import call_tool, run_tool

SCRIPT = """
import argparse, timm, torch
import beside_the_script

parser = argparse.ArgumentParser()
parser.add_argument("--model")
args = parser.parse_args()
model = timm.create_model(args.model, num_classes=3, num_layers=1, img_size=32)
print(__name__, beside_the_script.WORD, tuple(model(torch.zeros(1, 3, 32, 32)).shape))
"""


def test_runs_a_script_with_our_models_in_timm(tmp_path):
    (tmp_path / "beside_the_script.py").write_text("WORD = 'found'\n")
    (tmp_path / "train.py").write_text(SCRIPT)
    result = run_tool("tools/pretrain.py", tmp_path / "train.py", "--model", "diversepatch_t")
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.splitlines()[-1] == "__main__ found (1, 3)"


#: What timm's train.py does with task, model and options, for two steps on random images.
TRAINING = """
import argparse, timm, torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.task import ClassificationTask
from timm.utils import ParseKwargs

parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--drop", type=float, default=0.0)
parser.add_argument("--model-kwargs", nargs="*", default={}, action=ParseKwargs)
args = parser.parse_args()
model = timm.create_model(
    args.model, num_classes=3, img_size=32, patch_size=8, drop_rate=args.drop, **args.model_kwargs
)
optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3)
task = ClassificationTask(
    model=model, criterion=LabelSmoothingCrossEntropy(0.1), device=torch.device("cpu"),
    dtype=None, verbose=False,
)
for _ in range(2):
    optimizer.zero_grad()
    result = task(torch.randn(2, 3, 32, 32), torch.tensor([0, 2]))
    result["loss"].backward()
    optimizer.step()
print(type(model.patch_head).__name__, model.head_drop.p, *sorted(result))
print(*sorted(name for name, p in model.named_parameters() if p.grad is None))
"""


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """What the tool changes in this process is changed back."""
    monkeypatch.setattr(timm.task, "ClassificationTask", timm.task.ClassificationTask)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize(
    ("ours", "theirs", "printed"),
    [
        (
            ["--mixing", "1", "--contrastive", "1"],
            ["--drop", "0.2", "--model-kwargs"],
            "Linear 0.2",
        ),
        (
            ["--mixing", "1", "--contrastive", "1"],
            ["--model", "vit_tiny_patch16", "--model-kwargs"],
            "Linear 0.0",
        ),
        (["--heads", "0.1"], ["--model-kwargs"], "NoneType 0.0"),
        ([], ["--model-kwargs"], "NoneType 0.0"),
    ],
)
def test_trains_with_the_losses_asked_for(tmp_path, monkeypatch, capsys, ours, theirs, printed):
    script = tmp_path / "train.py"
    script.write_text(TRAINING)
    model = ["--model", "diversepatch_t", *theirs, "num_layers=3"]
    call_tool(monkeypatch, "tools/pretrain.py", *ours, script, *model)
    losses = [f"loss_{name[2:]}" for name in ours[::2]]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [" ".join([printed, "loss", *sorted(losses), "output"]), ""]


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        (["--mixing", "1"], SCRIPT, "does not train by timm.task.ClassificationTask: take the"),
        (["--heads", "-1"], TRAINING, "heads is a weight and must be at least 0, got -1.0"),
        (["--cosine", "1"], TRAINING, "ResNet is no model of mmseg_deepvit; give --model deepvit"),
    ],
)
def test_losses_that_cannot_be(tmp_path, monkeypatch, options, text, message):
    text = text.replace("img_size=32, patch_size=8, ", "")
    script = tmp_path / "train.py"
    script.write_text(text)
    with pytest.raises(UserError, match=message):
        call_tool(monkeypatch, "tools/pretrain.py", *options, script, "--model", "resnet10t")


def test_a_script_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"train\.py does not exist: give .*pytorch-image-models"):
        call_tool(monkeypatch, "tools/pretrain.py", "--mixing", "1", tmp_path / "train.py")
