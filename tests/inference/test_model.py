import warnings

import cv2
import numpy as np
import pytest
import torch
from mmseg.apis import MMSegInferencer, inference_model

from mmseg_deepvit.checkpoints import read_checkpoint, save_safetensors, segmentor_state_dict
from mmseg_deepvit.errors import CheckpointError, UserError
from mmseg_deepvit.inference import load_model, load_segmentor

from .conftest import CONFIG, OPTIONS, make_model, picture, save


@pytest.fixture(scope="module")
def model(saved):
    return load_model(saved.path, device="cpu")


@pytest.fixture(scope="module")
def reference(saved):
    """mmseg's own prediction of an array, with the config's file."""
    segmentor = load_segmentor(saved.cfg, saved.path)
    return lambda image: inference_model(segmentor, image)


def test_three_lines(saved, model, reference):
    """Labels and probabilities are mmseg's; the file and its array are one thing."""
    path = saved.images / "a.png"
    result = model.predict(str(path))
    expected = reference(cv2.imread(str(path)))
    logits = expected.seg_logits.data
    assert np.array_equal(result.labels, expected.pred_sem_seg.data[0])
    assert 0 < result.labels.mean() < 1
    assert result.labels.dtype == np.uint8
    np.testing.assert_allclose(result.probabilities, logits.softmax(0), atol=1e-6)
    assert (result.path, model.classes) == (path, ["background", "lesion"])
    again = model.predict(cv2.imread(str(path)), probabilities=True)
    assert np.array_equal(again.probabilities, result.probabilities)
    assert again.path is None
    assert "40×56: " in repr(result)


def test_probabilities_take_memory_only_when_asked_for(saved, model):
    result = model.predict(saved.images / "a.png")
    assert "probabilities" not in vars(result)
    assert "probabilities" in vars(model.predict(saved.images / "a.png", probabilities=True))


def test_overlay(saved, model):
    """Red where the lesion is, the image elsewhere, white on the border."""
    result = model.predict(saved.images / "a.png")
    painted, image = result.overlay(opacity=1), cv2.imread(str(saved.images / "a.png"))
    assert painted.shape == image.shape
    white = (painted == 255).all(-1)
    assert (painted[(result.labels == 1) & ~white] == (0, 0, 255)).all()
    plain = (result.labels == 0) & ~white
    assert np.array_equal(painted[plain], image[plain])
    assert result.overlay(legend=True).shape[1] > 56


def test_safetensors_predict_the_same(saved, model, tmp_path):
    content = read_checkpoint(saved.path)
    path = tmp_path / "model.safetensors"
    save_safetensors(path, segmentor_state_dict(content), content.meta)
    found, expected = (
        m.predict(saved.images / "a.png", probabilities=True)
        for m in (load_model(path, device="cpu"), model)
    )
    assert np.array_equal(found.probabilities, expected.probabilities)
    assert (found.classes, found.palette) == (expected.classes, expected.palette)


def test_many_images_in_order_without_the_bad_one(saved, model):
    with pytest.warns(UserWarning, match=r"left out: .*c\.jpg is no image"):
        results = list(predictions := model.predict(saved.images, progress=False))
    assert [r.path.name for r in results] == ["a.png", "b.png", "d.png"]
    assert [r.labels.shape for r in results] == [(40, 56), (41, 56), (42, 56)]
    assert [path.name for path in predictions.failures] == ["c.jpg"]
    alone = model.predict(saved.images / "d.png")
    assert np.array_equal(results[2].labels, alone.labels)


def test_a_list_of_files_patterns_and_arrays(saved, model, capsys):
    inputs = [saved.images / "b.png", f"{saved.images}/[ad].png", picture()]
    results = list(model.predict(inputs))
    assert [r.path and r.path.name for r in results] == ["b.png", "a.png", "d.png", None]
    assert "100%" in capsys.readouterr().err


def test_no_image_works(saved, model, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(UserError, match=r"none of 1 images can be segmented: .*bad\.png is empty"),
    ):
        list(model.predict(tmp_path, progress=False))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x[..., 0], "repeats grey"),
        (lambda x: x[..., :1], "repeats grey"),
        (lambda x: np.dstack([x, x[..., :1]]), "drops transparency"),
        (lambda x: x[None], "as a list"),
        (lambda x: x / 255, "dtype float64, and the model takes uint8"),
        (lambda x: x[:0], r"shape \(0, 56, 3\)"),
        (lambda x: [x, x.astype(np.uint16)], "dtype uint16"),
        (lambda x: [torch.from_numpy(x)], "of type Tensor"),
        (lambda x: [], "list of images is empty"),
        (lambda x: None, "of type NoneType"),
        (lambda x: "nowhere.png", "nowhere.png does not exist"),
    ],
)
def test_what_is_no_image(model, change, said):
    """Told before anything runs, a list as a whole."""
    with pytest.raises(UserError, match=said):
        model.predict(change(picture()))


def test_views_are_averaged(model):
    """The config's three: as it is, mirrored, upside down."""
    image = picture()
    views = [(slice(None), slice(None)), (slice(None), slice(None, None, -1))]
    views.append((slice(None, None, -1), slice(None)))
    of_views = [
        model.predict(np.ascontiguousarray(image[rows, columns])).probabilities[:, rows, columns]
        for rows, columns in views
    ]
    found = model.predict(image, tta=True)
    np.testing.assert_allclose(found.probabilities, np.mean(of_views, axis=0), atol=1e-5)
    assert np.array_equal(found.labels, found.probabilities.argmax(0))
    assert np.abs(found.probabilities - of_views[0]).max() > 1e-3


def test_mixed_precision(saved, model):
    half = load_model(saved.path, device="cpu", amp="bf16")
    one, other = (m.predict(picture()).probabilities for m in (half, model))
    assert 0 < np.abs(one - other).max() < 0.1
    with pytest.raises(UserError, match="amp is 'int8'; give one of fp16, bf16"):
        load_model(saved.path, device="cpu", amp="int8")


def test_one_output_for_two_classes(tmp_path):
    options = {"model.decode_head.out_channels": 1, "model.decode_head.threshold": 0.3}
    options["model.decode_head.loss_decode.0.use_sigmoid"] = True
    segmentor, cfg = make_model(**options)
    path = save(tmp_path / "model.pth", segmentor, cfg.pretty_text)
    model = load_model(path, device="cpu")
    for tta in (False, True):
        result = model.predict(picture(), tta=tta)
        assert np.array_equal(result.labels, result.probabilities[1] > 0.3)
        np.testing.assert_allclose(result.probabilities.sum(0), 1, atol=1e-6)
        assert 0 < result.labels.mean() < 1


def test_a_checkpoint_without_config(saved, tmp_path):
    path = save(tmp_path / "bare.pth", saved.model, None)
    with pytest.raises(CheckpointError, match=r"bare\.pth holds no config; give the config"):
        load_model(path, device="cpu")
    with pytest.raises(UserError, match=r"nowhere\.py does not exist"):
        load_model(path, "nowhere.py", "cpu")
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load_model(path, CONFIG, "cpu")
    model = load_model(path, CONFIG, "cpu", cfg_options=OPTIONS)
    expected = load_model(saved.path, device="cpu").predict(picture())
    assert np.array_equal(model.predict(picture()).probabilities, expected.probabilities)


def test_an_onnx_file_takes_no_config(tmp_path):
    with pytest.raises(UserError, match="leave out config, cfg_options and amp"):
        load_model(tmp_path / "model.onnx", CONFIG)


def test_mmsegs_own_inferencer(saved, model, tmp_path):
    """Its pictures and labels, from our config and checkpoint."""
    config = tmp_path / "config.py"
    config.write_text(saved.cfg.pretty_text)
    inferencer = MMSegInferencer(str(config), str(saved.path), device="cpu", show_progress=False)
    paths = [str(saved.images / f"{name}.png") for name in "ab"]
    found = inferencer(paths, out_dir=str(tmp_path / "out"), return_vis=True)
    for labels, drawn, path in zip(
        found["predictions"], found["visualization"], paths, strict=True
    ):
        assert np.array_equal(labels, model.predict(path).labels)
        assert drawn.shape == (*labels.shape, 3)
    assert len(list((tmp_path / "out/pred").iterdir())) == 2
