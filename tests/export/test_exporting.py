import json
import re
from dataclasses import replace

import onnx
import pytest
import torch

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.export import FORMATS, describe, export_segmentor, exporting

CAIT, DEEPVIT = "linear_cait-xxs24_ade20k", "upernet_deepvit_ade20k"
DIVERSE, SWIN = "upernet_diversepatch-b_ade20k", "upernet_diversepatch-swin-l_cityscapes-1025x1025"
TO_THE_SIZE = {"test_pipeline.1.keep_ratio": False, "test_pipeline.1.scale": (96, 64)}


def export(model, folder, kind, **settings):
    path = folder / f"model{FORMATS[kind].suffix}"
    return path, export_segmentor(model, path, kind, **settings)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (CAIT, {}),
        (CAIT, {"model.backbone.map_tokens": None}),
        (
            "linear_deepvit_ade20k",
            {
                "model.backbone.mix_norm_cfg.type": "LN",
                "model.backbone.rope": "dinov3",
                "model.backbone.num_heads": 11,
            },
        ),
    ],
)
@pytest.mark.parametrize("kind", list(FORMATS))
def test_sizes_vary(small, tmp_path, kind, name, options):
    """Batches and sizes vary: no multiples of the patch, and not the ones tried on writing."""
    model = small(name, **options)
    path, results = export(model, tmp_path, kind, dynamic=True)
    assert [r.shape for r in results] == [(2, 3, 61, 69), (1, 3, 85, 105), (85, 105)]
    assert all(0 < r.relative < 1e-4 or r.absolute == 0 for r in results)
    run = FORMATS[kind].read(path)
    images = torch.rand(3, 3, 50, 111) * 255
    with torch.no_grad():
        inputs = (images - model.data_preprocessor.mean) / model.data_preprocessor.std
        expected = model.encode_decode(inputs, [dict(img_shape=images.shape[2:])])
        torch.testing.assert_close(run(images), expected, rtol=1e-3, atol=1e-3)
    assert list(tmp_path.iterdir()) == [path]


ONE_SIZE = [(DEEPVIT, "exported-program"), (DIVERSE, "torchscript")]
ONE_SIZE += [(SWIN, "onnx"), (SWIN, "torchscript")]


@pytest.mark.parametrize(("name", "kind"), ONE_SIZE)
def test_one_size(small, tmp_path, name, kind):
    """Predictions are compared if the test pipeline gives that size and nothing slides."""
    _, (result, *predicted) = export(small(name), tmp_path, kind, shape=(70, 90))
    assert result.shape == (1, 3, 70, 90)
    assert result.relative < 1e-4
    assert [(p.shape, p.labels > 0.999) for p in predicted] == [((70, 90), True)] * (name == SWIN)


def test_onnx_is_standard_with_metadata(small, tmp_path):
    model = small("linear_deepvit_ade20k")
    path, _ = export(model, tmp_path, "onnx", dynamic=True)
    file = onnx.load(path)
    onnx.checker.check_model(file, full_check=True)
    assert [(o.domain, o.version) for o in file.opset_import] == [("", 18)]
    assert {node.domain for node in file.graph.node} == {""}
    assert not file.functions
    (images,), (logits,) = file.graph.input, file.graph.output
    assert (images.name, logits.name) == ("images", "logits")
    dims = [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim]
    assert dims == ["batch", 3, "height", "width"]
    said = {p.key: json.loads(p.value) for p in file.metadata_props}
    assert said["classes"] == list(model.dataset_meta["classes"])
    assert said["palette"] == [list(colour) for colour in model.dataset_meta["palette"]]
    assert said["mean"] == [127.5] * 3
    assert said["std"] == [127.5] * 3
    assert (said["input_order"], said["input_range"]) == ("RGB", [0, 255])
    assert (said["input_size"], said["patch_size"]) == (None, [16, 16])
    assert said["windows"] == {"crop_size": [64, 64], "stride": [48, 48]}
    assert said["resize"] == {"scale": [256, 70], "keep_ratio": True}


def test_archives_hold_metadata(small, tmp_path):
    model = small(CAIT)
    for kind, load in (
        ("torchscript", lambda path, files: torch.jit.load(path, _extra_files=files)),
        ("exported-program", lambda path, files: torch.export.load(path, extra_files=files)),
    ):
        path, _ = export(model, tmp_path, kind)
        files = {"metadata.json": ""}
        load(str(path), files)
        said = json.loads(files["metadata.json"])
        assert said["classes"] == list(model.dataset_meta["classes"])
        assert said["input_size"] == [64, 64]


def test_sizes_that_cannot_vary_are_refused(small, tmp_path):
    """The number of windows in mmseg's Swin depends on the size."""
    model = small(SWIN)
    for kind in FORMATS:
        with pytest.raises(UserError, match=r"SwinTransformer takes one size .* use --shape"):
            export(model, tmp_path, kind, dynamic=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"test_pipeline.1.type": "ResizeShortestEdge"}, "ResizeShortestEdge of test_pipeline"),
        ({"test_pipeline.2": dict(type="CLAHE")}, "CLAHE of test_pipeline"),
        ({"test_pipeline.2": dict(type="Resize", scale=9)}, "a second Resize of test_pipeline"),
        ({"test_pipeline.1.interpolation": "area"}, "interpolation='area' of Resize"),
        ({"test_pipeline.0.color_type": "grayscale"}, "color_type='grayscale' of LoadImage"),
        ({"model.data_preprocessor.test_cfg": dict(size=9, size_divisor=9)}, "test_cfg={'size'"),
    ],
)
def test_steps_that_cannot_be_exported_are_refused(small, tmp_path, options, said):
    """Without such a step a third of the labels would change, while logits agree."""
    model = small(CAIT, **options)
    with pytest.raises(UserError, match=f"{re.escape(said)}.* cannot be exported"):
        export(model, tmp_path, "onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("mode", "bgr_to_rgb", "padding"),
    [("whole", True, dict(size_divisor=48)), ("slide", False, dict(size=(100, 150)))],
)
def test_padding_is_exported(small, tmp_path, mode, bgr_to_rgb, padding):
    options = {"model.data_preprocessor.test_cfg": padding, "model.test_cfg.mode": mode}
    options["model.data_preprocessor.bgr_to_rgb"] = bgr_to_rgb
    model = small(CAIT, **options)
    _, results = export(model, tmp_path, "torchscript", dynamic=mode == "whole")
    assert results[-1].labels > 0.999
    assert results[-1].relative < 1e-4


def test_predictions_from_an_image_file_must_agree(small, tmp_path, monkeypatch):
    """Logits of random images cannot show that the metadata lack the resizing."""
    model = small(CAIT)
    told = describe(model, None)
    monkeypatch.setattr(exporting, "describe", lambda *_: replace(told, resize=None))
    with pytest.raises(UserError, match=r"differ in .* of the labels of an image of"):
        export(model, tmp_path, "torchscript", dynamic=True)
    assert not list(tmp_path.iterdir())


def test_a_wrong_range_of_bands_is_noticed(small, tmp_path, monkeypatch):
    loading = {"type": "LoadBands", "bands": [2, 0, 1], "value_range": [0, 4095]}
    model = small(CAIT, **{"test_pipeline.0": loading})
    told = describe(model, None)
    assert told.loading == {"bands": [2, 0, 1], "value_range": [0.0, 4095.0]}
    assert (told.input_order, told.model_order) == ("bands", "bands")
    wrong = replace(told, loading={**told.loading, "value_range": None})
    monkeypatch.setattr(exporting, "describe", lambda *_: wrong)
    with pytest.raises(UserError, match=r"differ in .* of the labels of an image of"):
        export(model, tmp_path, "torchscript", dynamic=True)
    assert not list(tmp_path.iterdir())


def test_a_loader_for_another_backbone_is_refused(small, tmp_path):
    model = small(CAIT, **{"test_pipeline.0": {"type": "LoadBands", "bands": [0, 1]}})
    with pytest.raises(UserError, match=r"loads 2 channels and the backbone takes 3; set bands"):
        export(model, tmp_path, "onnx")


@pytest.mark.parametrize(
    ("size", "options", "told"),
    [
        (None, {}, True),
        ((64, 64), {}, True),  # in windows
        ((64, 96), {}, False),
        ((64, 64), {"model.test_cfg.mode": "whole"}, False),  # proportions are kept
        ((64, 96), {"model.test_cfg.mode": "whole", **TO_THE_SIZE}, True),
    ],
)
def test_whether_images_come_at_the_files_size(small, size, options, told):
    assert describe(small(CAIT, **options), size).takes_every_image == told


def test_a_file_that_differs_is_not_kept(small, tmp_path):
    model = small(DEEPVIT)
    path = tmp_path / "model.pt"
    path.write_bytes(b"an older file")
    with pytest.raises(UserError, match=r"differs from the model by .* no file is written"):
        export(model, tmp_path, "torchscript", tolerance=1e-12)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"an older file"


def test_bad_places(small, tmp_path):
    model = small(CAIT)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/model.onnx cannot be written"):
        export(model, tmp_path / "file", "onnx")
    with pytest.raises(UserError, match=r"model.pt must end in \.onnx"):
        export_segmentor(model, tmp_path / "model.pt", "onnx")
    model.cfg.model.data_preprocessor.pop("size")
    model.test_cfg.pop("crop_size")
    with pytest.raises(UserError, match="give --shape"):
        export(model, tmp_path, "onnx")
