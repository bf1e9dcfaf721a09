from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.apis.utils import _preprare_data
from mmseg.models import SegDataPreProcessor

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.inference import prepare_image, training_crop

PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(128, 64), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("mmseg")


def model_of(pipeline, **preprocessor):
    norm = dict(mean=[120.0, 110, 100], std=[50.0, 55, 60], bgr_to_rgb=True)
    settings = dict(type="SegDataPreProcessor", size=(64, 48))
    cfg = Config(dict(test_pipeline=pipeline, model=dict(data_preprocessor=settings)))
    return SimpleNamespace(cfg=cfg, data_preprocessor=SegDataPreProcessor(**norm, **preprocessor))


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (100, 160, 3), dtype=np.uint8)


def test_the_image_is_mmsegs(image):
    model = model_of(PIPELINE)
    made = prepare_image(model, image)
    assert len(model.cfg.test_pipeline) == 4  # as it was
    data, _ = _preprare_data(image, model)
    expected = model.data_preprocessor(data, False)["inputs"]
    assert torch.equal(made.images, expected)
    assert made.size == tuple(expected.shape[2:]) == (64, 102)


@pytest.mark.parametrize(
    ("shape", "size"), [(51, (32, 51)), (102, (64, 102)), (500, (64, 102)), ((40, 30), (40, 30))]
)
def test_shapes(image, shape, size):
    made = prepare_image(model_of(PIPELINE), image, shape)
    assert made.size == size
    assert made.images.shape == (1, 3, *size)


def test_padding_is_not_counted(image):
    made = prepare_image(model_of(PIPELINE, test_cfg=dict(size_divisor=32)), image)
    assert made.size == (64, 102)
    assert made.images.shape[2:] == (64, 128)


def crop_of(size=None, crop_size=None):
    model = dict(data_preprocessor=dict(size=size), test_cfg=dict(crop_size=crop_size))
    return training_crop(Config(dict(model=model)))


def test_the_training_crop_is_read_by_one_rule():
    """Of all these only the first was one thing to all tools."""
    assert crop_of((64, 48)) == crop_of([64, 48], (32, 32)) == (64, 48)
    assert crop_of(32) == (32, 32)
    assert crop_of(None, (40, 24)) == (40, 24)
    assert crop_of(None, 40) == (40, 40)
    assert crop_of() is training_crop(Config(dict(model=dict()))) is None
    for size in ("x", (64,), (64, 0), (64, 48.5), [64, "48"]):
        with pytest.raises(UserError, match=r"crop is .*; set model\.data_preprocessor\.size"):
            crop_of(size)


def test_configs_without_test_pipeline_are_refused(image):
    with pytest.raises(UserError, match="no test_pipeline"):
        prepare_image(model_of([]), image)
