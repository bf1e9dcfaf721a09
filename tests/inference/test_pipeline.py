import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import TRANSFORMS

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.inference.pipeline import PredictionPipeline, prediction_steps

REST = [dict(type="Resize", scale=(8, 6)), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]


@pytest.fixture(autouse=True)
def _loader():
    """A loader of another data set's files: numbers of 16 bits in four channels."""
    init_default_scope("mmseg")

    @TRANSFORMS.register_module(name="LoadFourChannels", force=True)
    class LoadFourChannels(BaseTransform):
        def transform(self, results):
            return {**results, "img": np.load(results["img_path"])}

    yield
    TRANSFORMS.module_dict.pop("LoadFourChannels")


def test_the_first_step_reads_whatever_its_data_set_has(tmp_path):
    image = np.random.default_rng(0).integers(0, 60000, (12, 10, 4)).astype(np.uint16)
    np.save(tmp_path / "image.npy", image)
    cfg = Config(dict(test_pipeline=[dict(type="LoadFourChannels"), *REST]))
    pipeline = PredictionPipeline(prediction_steps(cfg))
    assert np.array_equal(pipeline.read(tmp_path / "image.npy"), image)
    pipeline.check(image, 4)
    with pytest.raises(UserError, match=r"the model takes \(H, W, 3\); "):
        pipeline.check(image, 3)
    with pytest.raises(UserError, match=r"LoadFourChannels .* reads files alone, and up\.npy is"):
        pipeline.decode(b"", "up.npy")
    batch = pipeline.batch(image)
    assert batch["inputs"][0].shape == (4, 6, 8)
    assert batch["data_samples"][0].ori_shape == (12, 10)


def test_arrays_that_load_bands_would_scale_are_refused():
    """Values of 16 bits would be taken for values from 0 to 255."""
    load = dict(type="LoadBands", bands=(0, 0, 0), value_range=(0, 4095))
    pipeline = PredictionPipeline(prediction_steps(Config(dict(test_pipeline=[load, *REST]))))
    image = np.zeros((12, 10, 3), np.uint16)
    with pytest.raises(
        UserError, match=r"dtype uint16.* from 0 to 255, as LoadBands .* the file's"
    ):
        pipeline.check(image, 3)
    for dtype in (np.float32, np.uint8):
        pipeline.check(image.astype(dtype), 3)


def test_steps_come_from_the_test_data_if_need_be():
    """Masks are left out, in views of the image too; the config stays."""
    steps = [dict(type="LoadImageFromFile"), *REST]
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=steps))))
    assert [s["type"] for s in prediction_steps(cfg)] == [s["type"] for s in steps if s != steps[2]]
    views = dict(type="TestTimeAug", transforms=[[REST[0]], [REST[1]], [REST[2]]])
    cfg = Config(dict(tta_pipeline=[steps[0], views]))
    _, found = prediction_steps(cfg, "tta_pipeline")
    assert found["transforms"] == [[REST[0]], [REST[2]]]
    assert len(cfg.tta_pipeline[1].transforms) == 3


def test_pipelines_that_cannot_be_used():
    with pytest.raises(UserError, match="config has no tta_pipeline"):
        prediction_steps(Config(dict(test_pipeline=REST)), "tta_pipeline")
    with pytest.raises(UserError, match="config has no test_pipeline"):
        prediction_steps(Config(dict(test_pipeline=[])))
    with pytest.raises(UserError, match="begins with Resize; begin it with a transform that loads"):
        PredictionPipeline(REST)
