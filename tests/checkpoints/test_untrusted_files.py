"""No code of a file runs, whichever way it is read; the attacks are real."""

import contextlib

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmseg.registry import MODELS

from mmseg_deepvit import safe_loading
from mmseg_deepvit.checkpoints import TRUST_VARIABLE, read_checkpoint
from mmseg_deepvit.errors import CheckpointError

from .attacks import LIVE, REACHING, WEIGHTS, beside, saved, touch

safe_loading.install()
#: Refused before they are unpickled, even where they are trusted.
OTHERS = ("zip within zip", "tar", "bare pickle, protocol 0")
READERS = {"ours": read_checkpoint, "mmengine's": CheckpointLoader.load_checkpoint}


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


def write(tmp_path, content):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("reader", list(READERS))
@pytest.mark.parametrize("kind", [*LIVE, *REACHING])
def test_no_code_is_run(kind, reader, tmp_path, canary):
    path = write(tmp_path, {**LIVE, **REACHING}[kind](canary))
    with pytest.raises(CheckpointError, match=r"model\.pth") as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)
    assert not canary.exists()


@pytest.mark.filterwarnings("ignore:.*is trusted")
@pytest.mark.parametrize("kind", [k for k in LIVE if k not in OTHERS])
def test_the_attacks_are_real_and_the_refusal_explains(kind, tmp_path, canary, monkeypatch):
    path = write(tmp_path, LIVE[kind](canary))
    if "protocol" not in kind:  # of unknown opcodes there is no more to say
        with pytest.raises(CheckpointError, match=r"not plain data.*would run code from the file"):
            read_checkpoint(path)
    monkeypatch.setattr(HistoryBuffer, "_statistics_methods", {})
    monkeypatch.setenv(TRUST_VARIABLE, str(path))
    with contextlib.suppress(CheckpointError):  # some are no checkpoints
        read_checkpoint(path)
    assert canary.exists()


def test_a_file_is_trusted_by_its_name_alone(tmp_path, canary, monkeypatch):
    path = write(tmp_path, beside(touch(canary)))
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    with pytest.raises(CheckpointError, match=f"set {TRUST_VARIABLE}={path} in the environment"):
        read_checkpoint(path)
    assert not canary.exists()
    monkeypatch.setenv(TRUST_VARIABLE, f"/else/where.pth:{path}")
    with pytest.warns(UserWarning, match=f"{path} is trusted: code in it is run"):
        read = read_checkpoint(path)
    torch.testing.assert_close(dict(read["state_dict"]), WEIGHTS)
    assert canary.exists()


def test_weights_to_begin_with(tmp_path, canary):
    """What mmseg's own backbones load by their config, and what init_model loads."""
    path = write(tmp_path, beside(touch(canary)))
    backbone = MODELS.build(
        dict(type="mmseg.ResNetV1c", depth=18, init_cfg=dict(type="Pretrained", checkpoint=path))
    )
    for load in (backbone.init_weights, lambda: load_checkpoint(backbone, path)):
        with pytest.raises(CheckpointError, match="would run code from the file"):
            load()
    assert not canary.exists()


@pytest.mark.parametrize(
    "content",
    [{"state_dict": WEIGHTS, "meta": 3}, {"state_dict": 3}, {3: WEIGHTS}, {"message_hub": []}],
)
def test_what_is_none_is_passed_on(content, tmp_path):
    path = write(tmp_path, saved(content))
    assert CheckpointLoader.load_checkpoint(path).keys() == content.keys()
