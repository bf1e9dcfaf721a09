import cv2
import numpy as np
import onnx
import pytest
from mmseg.apis import inference_model

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.export import OnnxSegmentor, export_segmentor

CAIT = "linear_cait-xxs24_ade20k"


def picture(height, width):
    """Something smooth: noise would put many pixels between two classes."""
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
    model.cfg.test_pipeline[1].scale = (256, 70)
    path = tmp_path / "model.onnx"
    export_segmentor(model, path, dynamic=True)
    for size in ((90, 141), (200, 120), (30, 31)):
        assert agree(model, path, picture(*size)) > 0.999


def test_windows_of_a_file_of_their_size(small, tmp_path):
    model = small(CAIT)
    model.cfg.test_pipeline[1].scale = (256, 70)
    path = tmp_path / "model.onnx"
    export_segmentor(model, path)
    assert agree(model, path, picture(90, 141)) > 0.999


def test_one_size_and_a_single_logit(small, tmp_path):
    """An image is brought to the file's size; one logit is compared with the threshold."""
    options = {"model.decode_head.out_channels": 1, "model.decode_head.num_classes": 2}
    options |= {"model.decode_head.threshold": 0.4, "model.test_cfg.mode": "whole"}
    model = small("linear_cait-xxs24_isic2018", **options)
    model.cfg.test_pipeline[1].update(scale=(96, 64), keep_ratio=False)
    path = tmp_path / "model.onnx"
    export_segmentor(model, path, shape=(64, 96))
    assert agree(model, path, picture(100, 77)) > 0.999
    assert OnnxSegmentor(path).dataset_meta["classes"] == list(model.dataset_meta["classes"])


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
    with pytest.raises(UserError, match=r"does not say what prediction needs \(no 'classes'\)"):
        OnnxSegmentor(path)
    with pytest.raises(UserError, match="try --device cpu"):
        OnnxSegmentor(path, "cuda:0")
