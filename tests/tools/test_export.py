import os
from types import SimpleNamespace

import cv2
import pytest

from .conftest import CONFIG, SMALL, assert_one_line, run_here, run_tool


def export(checkpoint, *arguments, options=SMALL, run=run_here):
    command = ["tools/export.py", CONFIG, checkpoint, *arguments]
    return run(*command, "--cfg-options", *options)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The trained checkpoint as an ONNX file of any size."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    result = export(trained.checkpoint, "--dynamic", "--out", path, run=run_tool)
    assert result.returncode == 0, result.stderr[-3000:]
    return SimpleNamespace(path=path, result=result)


def test_says_what_it_wrote_and_how_it_differs(exported):
    lines = exported.result.stdout.splitlines()[-4:]
    assert lines[0].startswith(f"written to {exported.path}: onnx, ")
    assert lines[1].startswith("compared on images of 2×3×61×69: largest difference ")
    assert lines[2].startswith("compared on images of 1×3×85×105: largest difference ")
    assert lines[3].startswith("predicted a made-up image file of 85×105: largest difference ")
    assert float(lines[3].split(", ")[2].split("%")[0]) > 99.9
    warnings = [x for x in exported.result.stderr.splitlines() if x.startswith("warning: ")]
    assert len(warnings) == 1
    assert "not 64×64" in warnings[0]


def test_onnx_predicts_what_the_checkpoint_does(exported, trained, tmp_path):
    """Each by the settings in the file alone, over the windows of the config's test."""
    images = sorted(trained.images.glob("*.jpg"))[:2]
    for name, file in (("onnx", exported.path), ("torch", trained.checkpoint)):
        how = ("--checkpoint", file, "--device", "cpu", "--out-dir", tmp_path / name)
        result = run_tool("tools/predict.py", *images, *how)
        assert result.returncode == 0, result.stderr[-2000:]
        assert "2 of 2 images segmented" in result.stdout
    for image in images:
        found, expected = (
            cv2.imread(str(tmp_path / name / f"{image.stem}_labels.png"), cv2.IMREAD_UNCHANGED)
            for name in ("onnx", "torch")
        )
        assert found.shape == cv2.imread(str(image)).shape[:2]
        assert (found == expected).mean() > 0.999
        assert (tmp_path / "onnx" / f"{image.stem}_overlay.png").exists()


def test_bad_input(exported, trained, tmp_path):
    checkpoint, out = trained.checkpoint, tmp_path / "out.onnx"
    options = [*SMALL, "model.backbone.num_heads=11"]
    result = export(checkpoint, "--out", out, options=options)
    assert_one_line(result, "belongs to another model")
    assert_one_line(export(checkpoint, "--out", checkpoint), "is the checkpoint itself")
    result = export(checkpoint, "--out", "out.onnx/model.onnx", "--shape", "0")
    assert result.returncode == 2
    assert "--shape takes one or two numbers from 1" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "tensorrt"], "invalid choice: 'tensorrt'"),
        (["--shape", "64", "--dynamic"], "not allowed with argument --shape"),
        (["--tolerance", "0"], "--tolerance must be above 0, got 0.0"),
    ],
)
def test_bad_options(arguments, said, tmp_path):
    result = export(tmp_path / "any.pth", *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert said in result.stderr.splitlines()[-1]


def test_without_onnxruntime(exported, trained, tmp_path, monkeypatch):
    """Both tools name what to install; a stand-in shadows the real package."""
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError(name='onnxruntime')\n")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    )
    what = ("onnxruntime is not installed", "pip install 'mmseg_deepvit[export]'")
    out = tmp_path / "out"
    result = export(trained.checkpoint, "--out", out / "model.onnx", run=run_tool)
    assert_one_line(result, *what)
    result = run_tool(
        *("tools/predict.py", trained.images, "--checkpoint", exported.path, "--out-dir", out)
    )
    assert_one_line(result, *what)
    assert not list(out.glob("*"))
