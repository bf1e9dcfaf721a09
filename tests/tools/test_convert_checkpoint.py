import importlib.util
import sys

import cv2
import numpy as np
import pytest
import torch
from mmseg.apis import inference_model
from mmseg.registry import MODELS

from mmseg_deepvit.checkpoints import read_checkpoint
from mmseg_deepvit.checkpoints.formats import is_safetensors
from mmseg_deepvit.command_line import load_config
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.inference import load_segmentor

from ..checkpoints.published import dvit_repo, prefixed
from ..checkpoints.swin_reference import DEPTHS, DIMS, HEADS, PATCH, WINDOW, swin_state_dict
from ..conftest import ROOT
from .conftest import ADE_ROOTS, assert_one_line, run_tool

SWIN = f"""
_base_ = ["{ROOT}/configs/_base_/datasets/ade20k.py", "{ROOT}/configs/_base_/default_runtime.py"]
test_cfg = dict(type="TestLoop")
head = dict(channels=4, num_classes=150, norm_cfg=dict(type="BN"), align_corners=False)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", size_divisor=32),
    backbone=dict(
        type="SwinTransformer", embed_dims={DIMS}, depths={DEPTHS}, num_heads={HEADS},
        window_size={WINDOW}, patch_size={PATCH}, strides=({PATCH}, 2, 2), out_indices=(0, 1, 2),
    ),
    decode_head=dict(
        type="UPerHead", in_channels=[{DIMS}, {2 * DIMS}, {4 * DIMS}], in_index=[0, 1, 2], **head
    ),
    auxiliary_head=dict(
        type="FCNHead", in_channels={2 * DIMS}, in_index=1, num_convs=1, **head
    ),
    test_cfg=dict(mode="whole"),
)
train_dataloader = val_cfg = val_dataloader = val_evaluator = None
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(256, 64), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline)
)
"""
#: What converted files say of where they come from.
FAMILY = {
    "family": "dvit_repo",
    "normalization": {"mean": [127.5] * 3, "std": [127.5] * 3},
}


def run_convert(*arguments):
    return run_tool("tools/convert_checkpoint.py", *arguments)


@pytest.fixture
def convert(monkeypatch, capsys):
    """The tool inside this process: a new one takes seconds to import all it needs."""
    path = ROOT / "tools/convert_checkpoint.py"
    spec = importlib.util.spec_from_file_location("convert_checkpoint", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def convert(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert_checkpoint.py", *map(str, arguments)])
        module.main()
        return capsys.readouterr().out.splitlines()

    return convert


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "deepvit.pth"
    torch.save({"state_dict": prefixed("module.", dvit_repo()[0])}, path)
    return path


def test_says_what_became_of_each_key(convert, source, tmp_path):
    out = tmp_path / "new/folder/ours.pth"
    lines = convert(source, out)
    block = "blocks.1.attn"
    for line in (
        f"module.{block}.qkv.weight -> {block}.qkv.weight",
        f"module.{block}.reatten_matrix.weight -> {block}.post_mix.weight "
        "(1×1 convolution to a matrix)",
        f"module.{block}.var_norm.bias -> {block}.mix_norm.bias",
        "module.head.weight dropped: classifier",
        f"written to {out}",
    ):
        assert line in lines
    keys = len(dvit_repo()[0])
    assert len(lines) == keys + 2
    assert lines[-2] == (
        "family dvit_repo (zhoudaquan/dvit_repo: DeepViT) for trunk: "
        f"{keys - 2} kept ({keys - 2} renamed, 2 with values rearranged), 2 dropped"
    )
    content = read_checkpoint(out)
    assert content["meta"] == {"source": str(source), **FAMILY}
    assert len(content["state_dict"]) == keys - 2
    assert [path.name for path in out.parent.iterdir()] == ["ours.pth"]

    lines = convert(out, tmp_path / "again.pth", "--family", "ours")
    assert "blocks.1.attn.post_mix.weight kept" in lines
    assert "kept (0 renamed, 0 with values rearranged), 0 dropped" in lines[-2]
    again = read_checkpoint(tmp_path / "again.pth")["state_dict"]
    torch.testing.assert_close(again, content["state_dict"], rtol=0, atol=0)


@pytest.mark.parametrize(("options", "expected"), [((), 1), (("--weights", "model"), 0)])
def test_a_moving_average_or_its_model(convert, tmp_path, options, expected):
    states = [dvit_repo()[0] for _ in range(2)]
    path = tmp_path / "both.pth"
    torch.save({"state_dict": states[0], "state_dict_ema": states[1]}, path)
    convert(path, tmp_path / "a.pth", *options)
    read = read_checkpoint(tmp_path / "a.pth")["state_dict"]["cls_token"]
    assert torch.equal(read, states[expected]["cls_token"])


def test_lists_the_families(convert):
    lines = [line.split()[:2] for line in convert("--list")]
    assert [lines[0], lines[-2]] == [["dvit_repo", "trunk"], ["timm_swin", "swin"]]


def test_never_replaces_unasked(convert, source, tmp_path):
    before = source.read_bytes()
    link = tmp_path / "link.pth"
    link.symlink_to(source)
    for out in (source, link):
        with pytest.raises(UserError, match="is the file to convert"):
            convert(source, out, "--force")
    assert source.read_bytes() == before

    there = tmp_path / "there.pth"
    there.write_text("mine")
    with pytest.raises(UserError, match=r"there\.pth exists.*--force"):
        convert(source, there)
    assert there.read_text() == "mine"
    convert(source, there, "--force")
    assert "state_dict" in read_checkpoint(there)


def test_a_write_that_fails_leaves_what_was_there(convert, source, tmp_path, monkeypatch):
    there = tmp_path / "there.pth"
    there.write_text("mine")

    def full(content, path):
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail] no space left on device\nat inline_container.cc")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        UserError, match=r"there\.pth cannot be written \(.*no space left"
    ) as caught:
        convert(source, there, "--force")
    assert "\n" not in str(caught.value)
    assert there.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"there.pth", "deepvit.pth"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deepvit.pth", "."), "is a folder"),
        (("deepvit.pth", "deepvit.pth/a.pth"), "cannot be written"),
        (("deepvit.pth", "a.pth", "--weights", "ema"), "no weights of a moving average"),
        (("deepvit.pth", "a.pth", "--family", "resnet"), "resnet is no family.*dvit_repo"),
        (("deepvit.pth", "a.pth", "--family", "swin"), "lacks the keys of family swin"),
        (("nowhere.pth", "a.pth"), r"nowhere\.pth does not exist"),
        (("timm://vit_smal_patch16_224", "a.pth"), "did you mean"),
        (("other.pth", "a.pth"), "of no family that is known"),
    ],
)
def test_refuses(convert, source, tmp_path, monkeypatch, arguments, message):
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pth")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        convert(*arguments)
    assert {path.name for path in tmp_path.iterdir()} == {"deepvit.pth", "other.pth"}


def test_safetensors(convert, source, tmp_path):
    convert(source, tmp_path / "a.pth")
    convert(source, tmp_path / "a.safetensors")
    assert is_safetensors(tmp_path / "a.safetensors")
    read = [read_checkpoint(tmp_path / f"a.{ending}") for ending in ("pth", "safetensors")]
    torch.testing.assert_close(*(content["state_dict"] for content in read), rtol=0, atol=0)
    assert read[1]["meta"] == {"source": str(source), **FAMILY}


def test_as_a_command(source, tmp_path):
    out = tmp_path / "out.pth"
    assert_one_line(run_convert(tmp_path / "nowhere.pth", out), "nowhere.pth does not exist")
    usage = run_convert(source)
    assert usage.returncode == 2
    assert "give SRC and OUT" in usage.stderr


def test_a_published_segmentor(ade_root, tmp_path):
    """tools/test.py predicts from it what mmseg predicts from the converted file."""
    (tmp_path / "swin.py").write_text(SWIN)
    cfg = load_config(str(tmp_path / "swin.py"))
    own = MODELS.build(cfg.model).state_dict()
    heads = {k: v for k, v in own.items() if not k.startswith("backbone.")}
    published = prefixed("backbone.", swin_state_dict(classifier=False)) | heads
    classes = tuple(f"class {i}" for i in range(150))
    meta = {"CLASSES": classes, "PALETTE": [[i, i, i] for i in range(150)], "mmseg_version": "0.11"}
    torch.save({"state_dict": published, "meta": meta}, tmp_path / "published.pth")
    result = run_tool(
        *("tools/test.py", tmp_path / "swin.py", tmp_path / "published.pth"),
        *("--out", tmp_path / "out", "--work-dir", tmp_path / "work"),
        *("--cfg-options", ADE_ROOTS[-1]),  # of testing
    )
    assert result.returncode == 0, result.stderr[-3000:]
    log = result.stdout + result.stderr
    assert f"Load checkpoint from {tmp_path}/published.pth" in log
    assert "mIoU" in log

    result = run_convert(tmp_path / "published.pth", tmp_path / "ours.safetensors")
    assert result.returncode == 0, result.stderr
    assert "(inputs of patch merging reordered)" in result.stdout
    model = load_segmentor(cfg, tmp_path / "ours.safetensors")
    assert model.dataset_meta["classes"] == list(classes)
    assert model.dataset_meta["palette"] == meta["PALETTE"]
    images = sorted((ade_root / "images/validation").glob("*.jpg"))
    assert len(images) == 6
    for image in images:
        labels = inference_model(model, str(image)).pred_sem_seg.data[0].numpy()
        assert np.unique(labels).size > 1, "a picture of one label shows nothing"
        written = cv2.imread(str(tmp_path / "out" / f"{image.stem}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(written, labels + 1)  # ADE20K's 0 is what counts nowhere
