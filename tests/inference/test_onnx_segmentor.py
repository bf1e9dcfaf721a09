import cv2
import numpy as np
import onnx
import pytest
import tifffile
from mmseg.apis import inference_model

from mmseg_deepvit.errors import CheckpointError, UserError
from mmseg_deepvit.export import ExportNetwork, describe, export_segmentor
from mmseg_deepvit.inference import SegmentationModel, load_model
from mmseg_deepvit.inference.exported import ExportedSegmentor, Metadata, OnnxSegmentor

CAIT = "linear_cait-xxs24_ade20k"


def picture(height, width):
    """A smooth picture: noise would put many pixels between two classes."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def agree(model, path, image):
    found = OnnxSegmentor(path).segment(image)
    expected = inference_model(model, image).pred_sem_seg.data[0].numpy()
    assert found.shape == expected.shape == image.shape[:2]
    assert len(np.unique(expected)) > 1
    return (found == expected).mean()


def test_any_size_is_the_models_prediction(small, tmp_path):
    model = small(CAIT)
    path = tmp_path / "model.onnx"
    export_segmentor(model, path, dynamic=True)
    for size in ((90, 141), (200, 120), (30, 31)):
        assert agree(model, path, picture(*size)) > 0.999


def test_windows_of_the_size_of_the_file(small, tmp_path):
    """With what counts in a window, and what is done to regions."""
    model = small(CAIT)
    rules = dict(keep_largest_region=True, fill_holes=True)
    model.test_cfg.update(window_weights="gaussian", **rules)
    path = tmp_path / "model.onnx"
    export_segmentor(model, path)
    assert agree(model, path, picture(90, 141)) > 0.999
    metadata = OnnxSegmentor(path).metadata
    assert metadata.windows == dict(crop_size=[64, 64], stride=[48, 48], weights="gaussian")
    assert metadata.regions == rules
    for other in (dict(window_weights="constant"), dict.fromkeys(rules, False)):
        model.test_cfg.update(other)
        assert agree(model, path, picture(90, 141)) < 0.999
        model.test_cfg.update(window_weights="gaussian", **rules)


def test_one_size_and_a_single_logit(small, tmp_path):
    """An image is resized to the file's size; one logit is compared with the threshold."""
    options = {"model.decode_head.out_channels": 1, "model.decode_head.num_classes": 2}
    options |= {"model.decode_head.threshold": 0.4, "model.test_cfg.mode": "whole"}
    model = small("linear_cait-xxs24_isic2018", **options)
    model.cfg.test_pipeline[1].update(scale=(96, 64), keep_ratio=False)
    path = tmp_path / "model.onnx"
    export_segmentor(model, path, shape=(64, 96))
    assert agree(model, path, picture(100, 77)) > 0.999
    loaded = load_model(path)
    assert loaded.classes == list(model.dataset_meta["classes"])
    result = loaded.predict(picture(100, 77))
    expected = inference_model(model, picture(100, 77)).seg_logits.data[0].numpy()
    np.testing.assert_allclose(result.probabilities, [1 - expected, expected], atol=1e-5)
    assert np.array_equal(result.labels, result.probabilities[1] > 0.4)
    with pytest.raises(UserError, match="no test-time augmentation; use the checkpoint"):
        loaded.predict(picture(100, 77), tta=True)


def write_scan(path, count, factor=16):
    """Bands of 16 bits, one after another."""
    bands = [picture(90, 141)[..., i % 3].astype(np.uint16) * factor for i in range(count)]
    tifffile.imwrite(path, np.stack(bands).squeeze(), photometric="minisblack")


def of_bands(small, count, value_range, **preprocessor):
    """A model that loads some bands; no two have the same mean."""
    normalization = dict(mean=list(range(90, 90 + 9 * count, 9)), std=list(range(40, 40 + count)))
    preprocessor = dict(type="BandDataPreProcessor", **normalization, **preprocessor)
    options = {"model.backbone.in_channels": count}
    options |= {f"model.data_preprocessor.{key}": value for key, value in preprocessor.items()}
    bands = list(range(count))[::-1]
    loading = dict(type="LoadBands", bands=bands, value_range=value_range)
    return small(CAIT, **options, **{"test_pipeline.0": loading})


@pytest.mark.parametrize(
    ("count", "value_range", "options"),
    [
        (1, None, dict(test_cfg=dict(size_divisor=48))),
        (3, (0, 4095), dict(bgr_to_rgb=True)),
        (3, (0, 4095), dict(bgr_to_rgb=False, test_cfg=dict(size=(150, 260)))),
        (5, [(0, 4095)] * 4 + [(-100, 4095)], {}),
    ],
)
def test_bands_of_other_depths(small, tmp_path, count, value_range, options):
    """A file reads images as the config's test does, from its metadata alone."""
    model, scan = of_bands(small, count, value_range, **options), tmp_path / "scan.tif"
    metadata = Metadata.from_strings(describe(model, None).to_strings(), "model")
    segmentor = ExportedSegmentor(ExportNetwork(model), metadata)
    write_scan(scan, count, 1 if value_range is None else 16)
    loaded = SegmentationModel(segmentor)
    result = loaded.predict(scan)
    expected = inference_model(model, str(scan)).pred_sem_seg.data[0].numpy()
    assert (result.labels == expected).mean() > 0.999
    assert len(np.unique(expected)) > 1
    assert result.overlay().shape == (90, 141, 3)
    assert np.array_equal(loaded.predict(result.image).labels, result.labels)
    with pytest.raises(UserError, match=rf"the model takes \(H, W, {count}\).*; "):
        loaded.predict(result.image[0])


def test_bands_in_an_onnx_file(small, tmp_path):
    model = of_bands(small, 5, (0, 4095))
    path, scan = tmp_path / "model.onnx", tmp_path / "scan.tif"
    results = export_segmentor(model, path)
    assert [r.shape for r in results] == [(1, 5, 64, 64), (85, 105)]
    assert results[-1].labels > 0.999
    write_scan(scan, 5)
    expected = inference_model(model, str(scan)).pred_sem_seg.data[0].numpy()
    assert (load_model(path).predict(scan).labels == expected).mean() > 0.999


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Model of one convolution with complete metadata."""
    weight = onnx.numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "weight")
    node = onnx.helper.make_node("Conv", ["images", "weight"], ["logits"])
    value, out = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, "h", "w"])
        for name, channels in (("images", 3), ("logits", 2))
    )
    graph = onnx.helper.make_graph([node], "small", [value], [out], [weight])
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    facts = Metadata(
        classes=["a", "b"],
        palette=[[1, 2, 3], [4, 5, 6]],
        input_size=None,
        patch_size=None,
        mean=[0.0] * 3,
        std=[1.0] * 3,
        align_corners=False,
        threshold=None,
        resize=dict(scale=[20, 20], keep_ratio=True),
        windows=dict(crop_size=[8, 8], stride=[4, 4]),
        padding=dict(size_divisor=2, value=[0.0, 0.0, 0.0]),
    )
    onnx.helper.set_model_props(model, facts.to_strings())
    return model


def change(model, tmp_path, edit):
    """Write the file of a model after an edit."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    edit(changed)
    onnx.save(changed, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classes", '"ab"'),
        ("classes", "[]"),
        ("classes", "[1, 2]"),
        ("classes", DEEP),
        ("palette", "[[1, 2, 3], [4, 5]]"),
        ("palette", "[[1, 2, 3]]"),
        ("palette", "[[1, 2, 3], [4, 5, 256]]"),
        ("palette", '[["a", "b", "c"], [4, 5, 6]]'),
        ("input_size", "[0, 8]"),
        ("input_size", "[99999999, 8]"),
        ("align_corners", "3"),
        ("threshold", "NaN"),
        ("resize", '{"scale": [20], "keep_ratio": true}'),
        ("resize", "[20, 20]"),
        ("resize", '{"scale": [99999999, 99999999], "keep_ratio": true}'),
        ("windows", '{"crop_size": [8, 8], "stride": [0, 4]}'),
        ("windows", '{"crop_size": [8, 8]}'),
        ("padding", '{"size_divisor": 0, "value": [0, 0, 0]}'),
        ("padding", '{"size_divisor": 2, "value": [0, Infinity, 0]}'),
        ("padding", '{"size_divisor": 2, "value": [0]}'),
        ("loading", '{"bands": [0, 1, 2]}'),
        ("loading", '{"bands": [], "value_range": null}'),
        ("loading", '{"bands": [0, -1, 2], "value_range": null}'),
        ("loading", '{"bands": ["0"], "value_range": null}'),
        ("loading", '{"bands": [0, 1, 2], "value_range": [5, 4]}'),
        ("loading", '{"bands": [0, 1, 2], "value_range": [0, NaN]}'),
        ("loading", '{"bands": [0, 1, 2], "value_range": {"0": 1}}'),
        ("loading", '{"bands": [0, 1, 2], "value_range": null}'),  # in the order "bands"
        ("input_order", '"bands"'),
        ("input_order", '"BGR"'),
        ("input_range", "[0, 1]"),
        ("windows", "{"),
        ("windows", None),
    ],
)
def test_damaged_metadata(exported, tmp_path, name, value):
    def edit(model):
        for entry in [p for p in model.metadata_props if p.key == name]:
            if value is None:
                model.metadata_props.remove(entry)
            else:
                entry.value = value

    with pytest.raises(CheckpointError, match=r"model\.onnx lacks metadata for prediction \("):
        OnnxSegmentor(change(exported, tmp_path, edit))


def test_files_of_older_versions_lack_facts(exported, tmp_path):
    def edit(model):
        for entry in [p for p in model.metadata_props if p.key in ("padding", "loading")]:
            model.metadata_props.remove(entry)

    segmentor = OnnxSegmentor(change(exported, tmp_path, edit))
    assert segmentor.metadata.padding is segmentor.metadata.loading is None
    assert segmentor.segment(picture(9, 30)).shape == (9, 30)


def loop(model):
    """Add a loop whose condition is always true."""
    make, bool_type = onnx.helper.make_node, onnx.TensorProto.BOOL
    value = onnx.helper.make_tensor_value_info
    cond, same = (value(name, bool_type, []) for name in ("cond", "same"))
    step = value("step", onnx.TensorProto.INT64, [])
    identity = make("Identity", ["cond"], ["same"])
    body = onnx.helper.make_graph([identity], "body", [step, cond], [same])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "true"))
    model.graph.node.append(make("Loop", ["", "true"], [], body=body))


def functions(model):
    """Add a chain of functions that call the next one twice: 2³⁰ nodes when expanded."""
    make = onnx.helper
    opsets = [make.make_opsetid(domain, 1) for domain in ("", "x")]
    for i in range(30):
        calls = [make.make_node(f"F{i + 1}", [x], [y], domain="x") for x, y in ("ab", "bc")]
        model.functions.append(make.make_function("x", f"F{i}", ["a"], ["c"], calls, opsets))


def weights_elsewhere(model):
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="a_pipe_that_never_ends")


def not_a_number(model):
    weights = np.full((2, 3, 1, 1), np.nan, np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "weight"))


def too_short(model):
    model.graph.initializer[0].raw_data = b"1234"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (loop, r"holds a Loop, which may never end"),
        (functions, r"holds a function, which may never end"),
        (weights_elsewhere, "keeps weights in another file"),
        (not_a_number, r"holds NaN or infinity in 1 tensors \(weight\)"),
        (too_short, "is no ONNX that runs"),
    ],
)
def test_graphs_that_are_refused(exported, tmp_path, edit, said):
    """The refusal runs nothing and opens no other file."""
    with pytest.raises(CheckpointError, match=rf"model\.onnx {said}"):
        OnnxSegmentor(change(exported, tmp_path, edit))


def huge(model):
    weights = np.full((2, 3, 1, 1), 3e38, np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "weight"))


def three_classes(model):
    for entry in model.metadata_props:
        if entry.key in ("classes", "palette"):
            entry.value = {"classes": '["a", "b", "c"]', "palette": "[[1, 2, 3]]"}[entry.key]
            entry.value = entry.value.replace("[1, 2, 3]", ", ".join(["[1, 2, 3]"] * 3))


@pytest.mark.parametrize(
    ("edit", "said"),
    [(huge, "gives NaN or infinity"), (three_classes, r"gives \(1, 2, 6, 8\) for 6×8 pixels and")],
)
def test_results_that_are_none(exported, tmp_path, edit, said):
    segmentor = OnnxSegmentor(change(exported, tmp_path, edit))
    with pytest.raises(UserError, match=f"the exported file {said}"):
        segmentor.segment(picture(9, 30))


def test_files_of_others(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.onnx does not exist"):
        OnnxSegmentor(tmp_path / "nowhere.onnx")
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(UserError, match=r"bad\.onnx is no ONNX that runs"):
        OnnxSegmentor(path)
    value = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["images"], ["logits"])
    out = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "other", [value], [out])
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    with pytest.raises(UserError, match=r"lacks metadata for prediction \(no 'classes'\)"):
        OnnxSegmentor(path)
    with pytest.raises(UserError, match="try --device cpu"):
        OnnxSegmentor(path, "cuda:0")
