"""Files that people have, through the tools in processes of their own."""

import cv2
import numpy as np
import pytest
from mmseg.models import EncoderDecoder

from mmseg_deepvit.command_line.running import one_line

from ..conftest import ROOT
from ..datasets.pictures import BAD, BAD_MASKS, GOOD, PICTURE, turned
from ..datasets.published import isic_image, isic_mask, write, write_isic
from .conftest import assert_one_line, call_tool, run_tool, tiny_options


def file_name(kind):
    return kind.replace(" ", "-").replace("'", "")


def test_predicting_a_folder_of_everything(there, tmp_path):
    """Good images are done, whatever their names; each bad one is a line, and nothing else is."""
    folder = tmp_path / "images"
    folder.mkdir()
    for kind, (data, _) in {**GOOD, **BAD}.items():
        (folder / f"{file_name(kind)}.jpg").write_bytes(data)
    (folder / "turned.png").write_bytes(turned("JPEG"))
    for name, size in (("one", (1, 1)), ("strip", (20000, 10)), ("line", (1, 3000))):
        write(folder / f"{name}.png", np.full((*size, 3), 99, np.uint8))
    (folder / "folder.jpg").mkdir()
    (folder / "._one.png").write_bytes(b"what macOS leaves")
    (folder / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    out = tmp_path / "out"
    arguments = ("--config", there.cfg, "--checkpoint", there.ck, "--out-dir", out)
    result = run_tool("tools/predict.py", folder, *arguments)
    assert result.returncode == 1, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    good = {file_name(kind) for kind in GOOD} | {"turned", "one", "strip", "line"}
    assert f"{len(good)} of {len(good) + len(BAD) + 1} images segmented" in result.stdout
    assert {path.name.removesuffix("_labels.png") for path in out.glob("*_labels.png")} == good
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == len(BAD) + 1
    for kind, (_, said) in BAD.items():
        assert any(f"/{file_name(kind)}.jpg {said}" in line for line in lines), kind
    assert any("dangling.jpg does not exist" in line for line in lines)
    sizes = {"turned": PICTURE.shape[1::-1], "one": (1, 1), "strip": (20000, 10)}
    for name, size in sizes.items():
        labels = cv2.imread(str(out / f"{name}_labels.png"), cv2.IMREAD_UNCHANGED)
        assert labels.shape == size
    overlay = cv2.imread(str(out / "strip_overlay.png"))
    assert overlay.shape[0] == 20000, "not enlarged to half a million rows"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "isic"
    for part in ("Training", "Validation"):
        write_isic(root, 3, part, (40, 56))
    return root


def test_an_image_that_the_model_cannot_take(there, tmp_path, monkeypatch, capsys):
    """It is named, the others are done, and the status says so; if it is all of them, one line."""
    for name, size in (("a", 40), ("b", 56), ("c", 40)):
        write(tmp_path / "images" / f"{name}.png", np.full((40, size, 3), 99, np.uint8))

    def broken(self, inputs, *args, **kwargs):
        if inputs.shape[3] != inputs.shape[2]:
            raise RuntimeError("CUDA out of memory. Tried")
        return extract(self, inputs, *args, **kwargs)

    extract = EncoderDecoder.extract_feat
    monkeypatch.setattr(EncoderDecoder, "extract_feat", broken)
    config = tmp_path / "keep.py"
    config.write_text(f'_base_ = ["{there.cfg}"]\ntest_pipeline = {KEEP}\n')
    arguments = ["--config", config, "--checkpoint", there.ck, "--out-dir", tmp_path / "out"]
    monkeypatch.chdir(ROOT)
    assert call_tool(monkeypatch, "tools/predict.py", tmp_path / "images", *arguments) == 1
    said = capsys.readouterr()
    assert "2 of 3 images segmented" in said.out
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert "images/b.png cannot be segmented: " in line
    assert "not enough memory" in line
    assert len(list((tmp_path / "out").iterdir())) == 4
    only = run_line(monkeypatch, "predict", [tmp_path / "images" / "b.png", *arguments])
    assert only.startswith("none of 1 images can be segmented: ")


KEEP = """[
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(64, 64), keep_ratio=True),
    dict(type="PackSegInputs"),
]"""


@pytest.mark.parametrize("link", [False, True])
def test_no_result_replaces_an_image(there, tmp_path, monkeypatch, link):
    """Results of a run before, taken for images, or a folder under another name."""
    folder = tmp_path / "images"
    for name in ("a", "a_labels"):
        write(folder / f"{name}.png", np.full((40, 56, 3), 99, np.uint8))
    before = (folder / "a_labels.png").read_bytes()
    out = folder
    if link:
        out = tmp_path / "link"
        out.symlink_to(folder)
    arguments = ["--config", there.cfg, "--checkpoint", there.ck, "--out-dir", out]
    line = run_line(monkeypatch, "predict", [folder, *arguments])
    assert "holds the image a_labels.png, which the result of" in line
    assert (folder / "a_labels.png").read_bytes() == before
    assert len(list(folder.iterdir())) == 2


def run_line(monkeypatch, tool, arguments):
    """The line in which a tool ends, in this process."""
    monkeypatch.chdir(ROOT)
    try:
        call_tool(monkeypatch, f"tools/{tool}.py", *arguments)
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        return line
    pytest.fail("it worked")


def training(there, root, tmp_path, *options):
    options = [*tiny_options(root), "train_dataloader.batch_size=3", *options]
    return [there.cfg, "--work-dir", tmp_path / "run", "--cfg-options", *options]


FEW_MASKS = ["colours", "16 bits"]


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=[] if k in FEW_MASKS else pytest.mark.slow) for k in BAD_MASKS],
)
def test_masks_that_training_refuses(kind, there, root, tmp_path, monkeypatch):
    data, said = BAD_MASKS[kind]
    isic_mask(root, "ISIC_0000001").write_bytes(data)
    line = run_line(monkeypatch, "train", training(there, root, tmp_path))
    assert "ISIC_0000001_segmentation.png" in line
    assert said in line


FEW_IMAGES = ["cut JPEG", "12 bits in 16"]


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[] if k in FEW_IMAGES else pytest.mark.slow) for k in BAD]
)
def test_images_that_training_refuses(kind, there, root, tmp_path, monkeypatch):
    data, said = BAD[kind]
    isic_image(root, "ISIC_0000001").write_bytes(data)
    line = run_line(monkeypatch, "train", training(there, root, tmp_path))
    assert f"ISIC_0000001.jpg {said}" in line


def test_what_a_worker_process_refuses(there, root, tmp_path):
    """The line comes through, without the traceback of the worker."""
    mask = np.zeros((40, 55), np.uint8)
    write(isic_mask(root, "ISIC_0000001"), mask)
    options = ["train_dataloader.num_workers=2"]
    result = run_tool("tools/train.py", *training(there, root, tmp_path, *options))
    assert_one_line(
        result, "ISIC_0000001_segmentation.png is 40×55", "ISIC_0000001.jpg 40×56; replace it"
    )


@pytest.mark.parametrize("tta", [False, True])
def test_labels_that_are_no_class_in_a_test(tta, there, tmp_path, monkeypatch):
    """mmseg's metric would pass over them and count the rest."""
    root = tmp_path / "seg"
    write(root / "img" / "a.jpg", np.zeros((40, 56, 3), np.uint8))
    write(root / "ann" / "a.png", np.full((40, 56), 7, np.uint8))
    config = tmp_path / "seg.py"
    config.write_text(SEG.format(config=there.cfg, root=root))
    arguments = [config, there.ck, "--work-dir", tmp_path, *(["--tta"] if tta else [])]
    line = run_line(monkeypatch, "test", arguments)
    assert "label 7 in" in line
    assert "ann/a.png is no class" in line


SEG = """
_base_ = ["{config}"]
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(32, 32)),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    _delete_=True, type="BaseSegDataset", data_root="{root}", pipeline=pipeline,
    data_prefix=dict(img_path="img", seg_map_path="ann"),
    metainfo=dict(classes=("background", "lesion"), palette=[[0, 0, 0], [9, 9, 9]]),
))
test_evaluator = [dict(type="IoUMetric")]
"""
