"""Arguments and options that cannot be meant, for every tool: status 2 and one line, at once.

The tools run in this process: hundreds of new ones would take an hour. That processes end alike is
tested in test_bad_input.py.
"""

import pytest

from mmseg_deepvit.command_line.running import one_line

from ..conftest import ROOT
from .conftest import call_tool


def refusal(monkeypatch, capsys, tool, arguments):
    """The line in which a tool refuses; anything else fails the test."""
    try:
        status = call_tool(monkeypatch, f"tools/{tool}.py", *arguments)
    except SystemExit:  # argparse's, of status 2
        return capsys.readouterr().err.splitlines()[-1].split("error: ", 1)[1]
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        return line
    pytest.fail(f"it worked, with status {status}")


def fill(text, there):
    return [part.format(**vars(there)).replace("''", "") for part in text.split(" ")]


OPTION = "neither the config nor the runner"
PREDICT = "{img} --config {cfg} --checkpoint {ck} --out-dir {out}"
#: Tool, arguments that work, then what is added and a part of the line that is expected.
CASES = {
    ("predict", PREDICT): {
        "--opacity nan": "from 0 to 1, got nan",
        "--opacity -1": "from 0 to 1, got -1",
        "--opacity x": "invalid float value",
        "--device nonsense": "'nonsense' cannot be used",
        "--device cuda:99": "'cuda:99' cannot be used",
        "--device meta": "'meta' cannot be used",
        "--device ''": "'' cannot be used",
        "--out-dir {file}": "is a file: name a folder",
        "--out-dir {file}/x": "cannot be written",
        "--out-dir ''": "--out-dir is empty",
        "--out-dir \0": "is no name for a file",
        "--config {folder}": "is a folder",
        "--config {folder}/none.py": "none.py does not exist",
        "--config {file}": "cannot be read",
        "--config ''": "does not exist",
        "--checkpoint {folder}": "is a folder",
        "--checkpoint {file}": "it is text, 'text'",
        "--checkpoint ''": "checkpoint is empty",
        "--checkpoint {nan}": "holds NaN or infinity in 4 tensors",
        "--checkpoint {folder}/junk.onnx": "is no ONNX that runs",
        "--checkpoint {folder}/none.onnx": "does not exist",
        "--checkpoint http://127.0.0.1:9/a.pth": "cannot download",
        "--checkpoint http://": "names no file",
        "--checkpoint https://[bad/a.pth": "cannot download",
        "--checkpoint timm://nope": "timm has no model nope",
        "--cfg-options": "expected at least one argument",
        "--cfg-options a": "expected KEY=VALUE",
        "--cfg-options =1": OPTION,
        "--cfg-options model=": "it is a dict of settings",
        "--cfg-options model=3": "it is a dict of settings",
        "--cfg-options modle.x=3": f"{OPTION} has a 'modle': did you mean model?",
        "--cfg-options model.backbone.num_layers=x": "expected a number, it is 2",
        "--cfg-options model.backbone.num_layers=nan": "give a number",
        "--cfg-options model.backbone.num_layers=0": "num_layers must be at least 1, got 0",
        "--cfg-options model.backbone.num_layers=5": "belongs to another model",
        "--cfg-options model.backbone.embed_dims=0": "config",
        "--cfg-options model.backbone.type=Nope": "Nope is not in",
        "--cfg-options model.backbone.nope=1": "nope",
        "--cfg-options model.backbone=None": "config",
        "--cfg-options model.decode_head.num_classes=-2": "negative dimension",
        "--cfg-options model.decode_head.num_classes=5": "2 classes and the config 5",
        "--cfg-options model.decode_head.in_index=[0,1,2,9]": "out of range",
        "--cfg-options model.data_preprocessor.mean=[1,2]": "`mean` should have",
        "--cfg-options model.data_preprocessor.std=[0,0,0]": "gives NaN or infinity",
        "--cfg-options model.test_cfg.mode=slid": "but got slid",
        "--cfg-options model.test_cfg.mode=slide": "crop_size",
        "--cfg-options test_pipeline=[]": "config",
        "--cfg-options test_pipeline.9.type=X": "Index 9 exceeds",
        "--cfg-options test_pipeline.1.scale=(0,0)": "resize",
        "--cfg-options custom_imports.imports=x": "set it there",
        "--checkpoint {ragged}": "ragged.pth: its palette is none: give each class three numbers",
        "--cfg-options test_dataloader.dataset.metainfo.palette=[[1,2,3],[4,5]]": "its palette is",
        "--cfg-options test_dataloader.dataset.metainfo.palette=5": "its palette is none",
        "--nope": "unrecognized arguments",
    },
    ("predict", "--config {cfg} --checkpoint {ck} --out-dir {out}"): {
        "{folder}/none.jpg": "none.jpg does not exist",
        "{folder}/*.jpg": "holds no images",
        "''": "is no name",
        "\0": "is no name",
    },
    ("test", "{cfg} {ck} --work-dir {out}"): {
        "--wait-time nan": "seconds from 0 on",
        "--wait-time -1": "seconds from 0 on",
        "--out {file}": "is a file",
        "--out ''": "--out is empty",
        "--show-dir {file}/x": "cannot be written",
        "--confusion {file}": "is a file",
        "--launcher x": "invalid choice",
        "--local_rank x": "invalid int",
        "--work-dir {file}": "is a file",
        "--work-dir ''": "is empty",
        "--cfg-options test_dataloader=None": "config",
        "--cfg-options test_dataloader.dataset.data_root=/nowhere": "/nowhere does not exist",
        "--cfg-options test_evaluator.type=x": "test_evaluator.type: list indices",
        "--tta --cfg-options tta_model=None": "--tta needs tta_model, and",
        "--tta --cfg-options tta_pipeline=[]": "--tta needs tta_pipeline, and",
        "--tta --cfg-options tta_model=None tta_pipeline=[]": "needs tta_model and tta_pipeline,",
    },
    ("test", "{cfg} {ck}"): {"--cfg-options work_dir=": "work_dir is empty"},
    ("test", "{cfg}"): {
        "''": "checkpoint is empty",
        "{folder}": "is a folder",
        "{file}": "it is text",
        "{folder}/none.pth": "does not exist",
    },
    ("train", "{cfg} --work-dir {out}"): {
        "--ema 0": "above 0 and below 1",
        "--ema nan": "above 0 and below 1",
        "--ema x": "invalid float",
        "--collapse 0": "from 1 on",
        "--collapse x": "invalid int",
        "--amp fp8": "invalid choice",
        "--amp bf16 --cfg-options optim_wrapper.type=X": "--amp",
        "--early-stop mIoU": "a score and a number of validations from 1 on",
        "--early-stop mIoU:0": "a score and a number of validations from 1 on",
        "--early-stop mIoU:2:most": "a score and a number of validations from 1 on",
        "--early-stop mine:3": "less or greater is better: give the rule, as mine:5:less",
        "--early-stop val/loss:3": "needs the validation's loss: add --val-loss",
        "--log-to x": "invalid choice",
        "--log-to": "expected at least one argument",
        "--work-dir {file}/x": "cannot be written",
        "--launcher x": "invalid choice",
        "--cfg-options optim_wraper.optimizer.lr=1": "did you mean optim_wrapper?",
        "--cfg-options optim_wrapper=3": "it is a dict of settings",
        "--cfg-options optim_wrapper.optimizer.lr=nan": "give a number",
        "--cfg-options optim_wrapper.optimizer.lr=x": "expected a number, it is 0.001",
        "--cfg-options resume=no": "expected True or False",
        "--cfg-options randomness.seed=x": "expected a number",
        "--cfg-options train_cfg.max_iters=0": "max_iters must be at least 1",
        "--cfg-options train_cfg.max_iters=-5": "max_iters must be at least 1",
        "--cfg-options train_cfg.max_iters=abc": "expected a number",
        "--cfg-options train_cfg.val_interval=0": "val_interval must be at least 1",
        "--cfg-options val_evaluator.type=X": "val_evaluator.type: list indices",
        "--cfg-options train_dataloader.dataset.data_root=/nowhere": "/nowhere does not exist",
    },
    ("train", ""): {
        "{folder}": "is a folder",
        "{file}": "cannot be read",
        "{folder}/none.py": "does not exist",
        "''": "does not exist",
    },
    ("check_dataset", "{cfg} --workers 0 --part train --out {out}"): {
        "--cfg-options train_dataloader.dataset.data_root={root} "
        "train_dataloader.dataset.metainfo.palette=[[1,2,3],[4,5]]": "metainfo.palette is none",
        "--max-images 0": "at least 1, got 0",
        "--max-images x": "invalid int",
        "--workers -1": "at least 0, got -1",
        "--part x": "invalid choice",
        "--out {file}": "is a file",
        "--out ''": "--out is empty",
        "--cfg-options train_dataloader=None": "no train_dataloader",
        "--cfg-options train_dataloader.dataset=None": "no dataset",
        "--cfg-options train_dataloader.dataset.type=Nope": "Nope is not in",
        "--cfg-options train_dataloader.dataset.data_root=/nowhere": "does not exist",
        "--cfg-options train_dataloader.dataset.metainfo.classes=3": "config",
        "--cfg-options train_dataloader.dataset.data_root={root} "
        "train_dataloader.dataset.pipeline=[]": "add LoadImageFromFile",
    },
    ("export", "{cfg} {ck}"): {
        "--format x": "invalid choice",
        "--shape 0": "from 1 to 32768, got 0",
        "--shape 3 4 5": "from 1 to 32768, got 3 4 5",
        "--shape 100000": "from 1 to 32768, got 100000",
        "--dynamic --shape 3": "not allowed with",
        "--out {folder}": "is a folder",
        "--out {file}/a.onnx": "cannot be written",
        "--out ''": "--out is empty",
        "--out {folder}/a.txt": "must end in .onnx",
        "--out {ck}": "is the checkpoint itself",
        "--tolerance nan": "above 0, got nan",
        "--tolerance 0": "above 0, got 0",
        "--cfg-options test_pipeline.1.type=ResizeShortestEdge": "ResizeShortestEdge of test_pip",
        "--cfg-options test_pipeline.1.scale=(0,0)": "has scale [0, 0]",
        "--cfg-options test_pipeline=[]": "no test_pipeline",
    },
    ("export", "{cfg}"): {
        "''": "checkpoint is empty",
        "{file}": "it is text",
        "{folder}": "is a folder",
    },
    ("analyze_collapse", "{cfg} {ck} --num-images 1 --images {img} --out {out}"): {
        "--num-images 0": "must be at least 1",
        "--distances 0": "must be at least 1",
        "--shape 1 2 3": "from 1 to 32768",
        "--shape 100000000": "from 1 to 32768",
        "--images none.jpg": "does not exist",
        "--images {file}": "is no image",
        "--images ''": "is no name",
        "--names a b": "needs 1 names, got 2",
        "--compare a b c": "at most one checkpoint",
        "--compare none.py": "does not exist",
        "--out {file}": "is a file",
        "--out ''": "is empty",
        "--device meta": "cannot be used",
        "--cfg-options model.data_preprocessor.mean=3": "config",
    },
    ("analyze_collapse", "--out {out}"): {"timm://nope": "timm has no model", "''": "not exist"},
    ("visualize_attention", "{img} --config {cfg} --out-dir {out}"): {
        "--points a": "expected X,Y",
        "--points 1,2,3": "expected X,Y",
        "--points nan,1": "expected X,Y",
        "--points 9999,2": "lies outside the image of 64×64",
        "--layers 99": "blocks 0 to 1",
        "--layers x": "invalid int",
        "--shape 0": "from 1 to 32768",
        "--device x": "cannot be used",
        "--checkpoint {file}": "it is text",
        "--checkpoint ''": "checkpoint is empty",
        "--out-dir {file}": "is a file",
        "--cfg-options test_pipeline=None": "no test_pipeline",
        "--cfg-options test_pipeline.1.scale=(0,0)": "resize",
    },
    ("visualize_attention", "--config {cfg} --out-dir {out}"): {
        "''": "is no name",
        "{root}": "images: give one",
        "{file}": "is no image",
    },
    ("get_flops", "{cfg}"): {
        "--shape 0": "from 1 to 32768",
        "--shape a": "invalid int",
        "--cfg-options model.type=Nope": "Nope is not in",
        "--cfg-options model.data_preprocessor.size=None": "config",
        "{file}": "cannot be read",
        "{folder}": "is a folder",
    },
    ("plot_log", "{folder}/none"): {
        "": "does not exist",
        "{folder}/none": "given twice",
        "--out {folder}": "is a folder",
        "--out ''": "is empty",
        "--names a b": "2 names for 1 runs",
    },
    ("plot_log", "--out {folder}/curves.png"): {
        "{file}": "is empty",
        "{folder}": "has no log",
        "''": "has no log",
    },
    ("benchmark_model", "{cfg} --shape 32"): {
        "--shape 0": "from 1 to 32768",
        "--shape 40000": "from 1 to 32768",
        "--batch-size 0": "at least 1",
        "--rounds 0": "at least 1",
        "--backends x": "invalid choice",
        "--whole --baseline maps": "does not go with --whole",
        "--device x": "cannot be used",
        "--json {folder}": "is a folder",
        "--json {file}/x": "cannot be written",
        "--json ''": "is empty",
        "--cfg-options model.backbone.num_heads=3": "multiple of num_heads",
    },
    ("benchmark_attention", "--tokens 8"): {
        "--tokens 1": "at least 2",
        "--tokens x": "invalid int",
        "--heads 0": "at least 1",
        "--head-dims -1": "at least 1",
        "--rounds 0": "at least 1",
        "--max-gb nan": "above 0, got nan",
        "--max-gb -1": "above 0, got -1",
        "--device x": "cannot be used",
        "--json {folder}": "is a folder",
        "--plot ''": "is empty",
        "--mix x": "invalid choice",
    },
    ("convert_checkpoint", ""): {
        "": "give SRC and OUT",
        "a": "give SRC and OUT",
        "{file} {out}/a.pth": "it is text",
        "{folder} {out}/a.pth": "is a folder",
        "'' {out}/a.pth": "checkpoint is empty",
        "{ck} ''": "is a folder",
        "{ck} {folder}": "is a folder",
        "{ck} {file}/a.pth": "cannot be written",
        "{ck} {out}/a.pth --family nope": "is no family",
        "{ck} {ck}": "is the file to convert",
        "{ck} {file}": "--force to replace",
        "timm://nope {out}/a.pth": "timm has no model",
        "https://[bad/a.pth {out}/a.pth": "cannot download",
    },
    ("demo", ""): {
        "--work-dir {file}": "is a file",
        "--work-dir ''": "is empty",
        "--work-dir {file}/x": "cannot be written",
        "--work-dir": "expected one argument",
    },
    ("pretrain", ""): {"none.py": "does not exist", "{folder}": "does not exist"},
}
EACH = [
    pytest.param(tool, before, more, said, id=f"{tool} {more or 'alone'}".replace("\0", "null"))
    for (tool, before), cases in CASES.items()
    for more, said in cases.items()
]


@pytest.mark.parametrize(("tool", "before", "more", "said"), EACH)
def test_refused(tool, before, more, said, there, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = [*fill(before, there), *fill(more, there)] if more else fill(before, there)
    arguments = words if more.endswith("''") or "'' " in more else [w for w in words if w]
    arguments = [w for i, w in enumerate(arguments) if w or i or before]
    line = refusal(monkeypatch, capsys, tool, arguments)
    assert said in line
    assert "\n" not in line


def test_there_are_hundreds():
    assert len(EACH) > 200
