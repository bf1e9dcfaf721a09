import numpy as np
import pytest
import tifffile
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from mmseg_deepvit.analysis.models import config_subject
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.inference import prepare_image
from mmseg_deepvit.inference.pipeline import PredictionPipeline, prediction_steps

SCAN = np.random.default_rng(0).integers(0, 4096, (5, 24, 40)).astype(np.uint16)


def subject_of(steps=(), **model):
    model.setdefault("data_preprocessor", {}).update(mean=[1, 2, 3], std=[4, 5, 6])
    return config_subject(Config(dict(model=model, test_pipeline=list(steps))), nn.Identity())


def test_images_take_the_size_of_training():
    assert subject_of(data_preprocessor=dict(size=32)).shape == (32, 32)
    assert subject_of(test_cfg=dict(crop_size=(40, 24))).shape == (40, 24)
    with pytest.raises(UserError, match="the config of model tells no training crop: set model"):
        subject_of()


@pytest.mark.parametrize(
    ("bands", "bgr_to_rgb"), [([0], True), ([0, 1, 2], True), ([0, 1, 2], False), (range(5), True)]
)
def test_images_are_read_and_normalised_as_in_the_test(tmp_path, bands, bgr_to_rgb):
    """At the image's own size, where nothing is resized."""
    init_default_scope("mmseg")
    tifffile.imwrite(tmp_path / "scan.tif", SCAN, photometric="minisblack")
    count = len(bands)
    preprocessor = dict(
        type="BandDataPreProcessor",
        mean=list(range(90, 90 + count)),
        std=list(range(50, 50 + count)),
        bgr_to_rgb=bgr_to_rgb,
        size=(24, 40),
    )
    steps = [
        dict(type="LoadBands", bands=bands, value_range=(0, 4095)),
        dict(type="LoadAnnotations"),
        dict(type="PackSegInputs"),
    ]
    cfg = Config(dict(model=dict(data_preprocessor=preprocessor), test_pipeline=steps))
    backbone = nn.Conv2d(count, 1, 1)
    found = config_subject(cfg, backbone).prepare([tmp_path / "scan.tif"], None)
    model = nn.Module()
    model.cfg, model.data_preprocessor = cfg, MODELS.build(preprocessor)
    pixels = PredictionPipeline(prediction_steps(cfg)).read(tmp_path / "scan.tif")
    expected = prepare_image(model, pixels).images
    assert found.shape == (1, count, 24, 40)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    resized = config_subject(cfg, backbone).prepare([tmp_path / "scan.tif"], (7, 9))
    assert resized.shape == (1, count, 7, 9)
