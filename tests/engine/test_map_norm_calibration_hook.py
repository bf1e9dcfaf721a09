"""The hook on a runner's parts; tests/tools trains with it."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import HOOKS, MODELS
from mmseg.structures import SegDataSample

from mmseg_deepvit.engine import MapNormCalibrationHook, map_norm_calibration_hook

BACKBONE = {
    "type": "DeepViT",
    "arch": {"embed_dims": 24, "num_layers": 2, "num_heads": 4},
    "img_size": 32,
    "patch_size": 8,
}
HEAD = {
    "type": "FCNHead",
    "in_channels": 24,
    "channels": 24,
    "num_convs": 0,
    "concat_input": False,
    "num_classes": 2,
    "in_index": 0,
}


class Images:
    """A data set of noise that remembers what was asked of it."""

    def __init__(self, count):
        self.count = count
        self.asked = []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=generator)
        labels = PixelData(data=torch.zeros(1, 32, 32, dtype=torch.long))
        return {"inputs": image, "data_samples": SegDataSample(gt_sem_seg=labels)}


@pytest.fixture
def runner():
    init_default_scope("mmseg")
    segmentor = MODELS.build(
        {
            "type": "EncoderDecoder",
            "data_preprocessor": {
                "type": "SegDataPreProcessor",
                "mean": [127.5] * 3,
                "std": [64.0] * 3,
                "size": (32, 32),
            },
            "backbone": BACKBONE,
            "decode_head": HEAD,
        }
    )
    loader = SimpleNamespace(dataset=Images(100))
    return SimpleNamespace(model=segmentor.train(), train_dataloader=loader)


def norms(runner):
    return [block.attn.mix_norm for block in runner.model.backbone.blocks]


def test_calibrates_on_evenly_spaced_images(runner):
    hook = HOOKS.build({"type": "MapNormCalibrationHook", "num_images": 4, "batch_size": 3})
    hook.before_train(runner)
    assert runner.train_dataloader.dataset.asked == [0, 33, 66, 99]
    for norm in norms(runner):
        assert norm.num_batches_tracked == 2
        torch.testing.assert_close(norm.bias.data, norm.running_mean)
        torch.testing.assert_close(norm.weight.data, (norm.running_var + norm.eps).sqrt())
        assert (norm.weight < 0.3).all()
    assert runner.model.training


def test_leaves_a_model_that_has_seen_data(runner):
    """As resumed and loaded ones have; not an image is read for it."""
    for norm in norms(runner):
        norm.num_batches_tracked.fill_(7)
    MapNormCalibrationHook().before_train(runner)
    assert runner.train_dataloader.dataset.asked == []
    assert all((norm.weight == 1).all() for norm in norms(runner))


@pytest.mark.parametrize(("rank", "share"), [(0, [0, 66]), (1, [33, 99])])
def test_processes_share_the_images(runner, monkeypatch, rank, share):
    monkeypatch.setattr(map_norm_calibration_hook, "get_dist_info", lambda: (rank, 2))
    MapNormCalibrationHook(num_images=5).before_train(runner)
    assert runner.train_dataloader.dataset.asked == share


@pytest.mark.parametrize("arguments", [{"num_images": 0}, {"batch_size": 0}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="must be at least 1"):
        MapNormCalibrationHook(**arguments)
