import pytest
from mmengine.config import Config
from torch import nn

from mmseg_deepvit.analysis.models import config_subject
from mmseg_deepvit.errors import UserError


def subject_of(**model):
    model.setdefault("data_preprocessor", {}).update(mean=[1, 2, 3], std=[4, 5, 6])
    return config_subject(Config(dict(model=model)), nn.Identity())


def test_images_take_the_size_and_normalisation_of_training():
    subject = subject_of(data_preprocessor=dict(size=32))
    assert subject.shape == (32, 32)
    assert (list(subject.mean), list(subject.std)) == ([3, 2, 1], [6, 5, 4])
    assert subject_of(test_cfg=dict(crop_size=(40, 24))).shape == (40, 24)
    with pytest.raises(UserError, match="the config of model tells no training crop: set model"):
        subject_of()
