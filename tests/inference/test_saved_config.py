import sys

import pytest

from mmseg_deepvit.checkpoints import Checkpoint
from mmseg_deepvit.errors import CheckpointError
from mmseg_deepvit.inference import saved_config


def checkpoint(text):
    return Checkpoint({"meta": {"cfg": text}}, "x.pth")


def test_the_text_gives_the_config(saved):
    """Tuples stay tuples: mmcv's Resize wants them."""
    found = saved_config(checkpoint(saved.cfg.pretty_text))
    assert found.model == saved.cfg.model
    assert found.test_pipeline == saved.cfg.test_pipeline
    assert isinstance(found.test_pipeline[1].scale, tuple)
    assert found.test_dataloader == dict(dataset=saved.cfg.test_dataloader.dataset)
    assert "train_dataloader" not in found


def test_classes_with_their_module_are_found_by_name(saved):
    """As a config in mmengine's new style is saved."""
    text = saved.cfg.pretty_text.replace(
        "'SlidingEncoderDecoder'", "'mmseg_deepvit.inference.sliding.SlidingEncoderDecoder'"
    )
    assert saved_config(checkpoint(text)).model.type == "SlidingEncoderDecoder"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("type='SlidingEncoderDecoder'", "type='os.system'"),
        ("type='LoadImageFromFile'", "type='antigravity'"),
        ("type='Resize'", "type='evil.Nothing'"),
        ("type='Resize'", "type=''"),
        ("type='ISIC2018Dataset'", "type='antigravity'"),
        ("default_scope = 'mmseg'", "import antigravity"),
        ("default_scope = 'mmseg'", "custom_imports = dict(imports=['antigravity'])"),
        ("\nmodel = dict(", "\nmodle = dict("),
    ],
)
def test_nothing_that_a_file_names_is_imported(saved, old, new):
    text = saved.cfg.pretty_text
    assert old in text
    before = set(sys.modules)
    with pytest.raises(CheckpointError, match=r"x\.pth holds a config .*; .*give the config"):
        saved_config(checkpoint(text.replace(old, new)))
    assert not {"antigravity", "evil"} & (set(sys.modules) - before)


def test_the_default_scope_of_a_file_does_not_count(saved):
    text = saved.cfg.pretty_text.replace("default_scope = 'mmseg'", "default_scope = 'evil'")
    assert "default_scope" not in saved_config(checkpoint(text))
