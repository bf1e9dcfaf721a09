"""Checkpoints cut off and with bits turned, at many places: refused in one line, or read right."""

import random

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmseg_deepvit.checkpoints import read_checkpoint, save_safetensors, segmentor_state_dict
from mmseg_deepvit.errors import CheckpointError

STATE = {f"blocks.{i}.weight": torch.randn(5, 7, generator=torch.manual_seed(i)) for i in range(3)}
META = {"dataset_meta": {"classes": ("a", "b"), "palette": [[0, 0, 0], [255, 64, 64]]}}


def write_zip(path, **options):
    history = HistoryBuffer(np.arange(3.0), np.ones(3))
    hub = {"log_scalars": {"loss": history}, "runtime_info": {"iter": np.int64(3)}}
    torch.save({"state_dict": STATE, "meta": META, "message_hub": hub}, path, **options)


WRITERS = {
    "zip": write_zip,
    "old format": lambda path: write_zip(path, _use_new_zipfile_serialization=False),
    "safetensors": lambda path: save_safetensors(path, STATE, META),
}


def look_at(path):
    """What a file gives, or the refusal; anything else that is raised fails the test."""
    try:
        return segmentor_state_dict(CheckpointLoader.load_checkpoint(str(path)))
    except CheckpointError as error:
        said = str(error)
    assert "\n" not in said
    assert str(path) in said
    return None


def same(state):
    return state.keys() == STATE.keys() and all(state[k].equal(STATE[k]) for k in STATE)


@pytest.mark.parametrize("kind", list(WRITERS))
def test_cut_off(kind, tmp_path):
    path = tmp_path / "a.pth"
    WRITERS[kind](path)
    whole = path.read_bytes()
    assert same(look_at(path))
    places = sorted(random.Random(0).sample(range(len(whole)), 60))
    for length in [*range(12), *places, len(whole) - 1]:
        path.write_bytes(whole[:length])
        state = look_at(path)
        assert state is None or same(state), f"wrong weights from {length} of {len(whole)} bytes"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", list(WRITERS))
def test_turned_bits(kind, tmp_path):
    """A zip has checksums: what is read from it is what was written."""
    path = tmp_path / "a.pth"
    WRITERS[kind](path)
    whole = path.read_bytes()
    places = random.Random(1)
    refused = 0
    for _ in range(150):
        turned = bytearray(whole)
        for _ in range(places.choice((1, 1, 5, 50))):
            turned[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        path.write_bytes(turned)
        state = look_at(path)
        refused += state is None
        assert kind != "zip" or state is None or same(state)
    assert refused > 5


def test_a_turned_bit_in_the_weights(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"a": torch.ones(1000)}}, path)
    whole = bytearray(path.read_bytes())
    whole[whole.index(torch.ones(9).numpy().tobytes()) + 20] ^= 1
    path.write_bytes(whole)
    assert not torch.load(path)["state_dict"]["a"].equal(torch.ones(1000)), "PyTorch takes it"
    with pytest.raises(CheckpointError, match=r"a\.pth is damaged .*CRC.*data/0"):
        read_checkpoint(path)


def test_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"state_dict": STATE}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(read_checkpoint(tmp_path / "a.pth")["state_dict"])


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"state_dict": None},
        {"state_dict": {1: torch.ones(1)}},
        {"state_dict": {"a": [torch.ones(1)]}},
        {"state_dict": torch.ones(2)},
        {"meta": [], "state_dict": {"a": "b"}},
    ],
)
def test_without_weights(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth holds no state_dict"):
        segmentor_state_dict(read)
