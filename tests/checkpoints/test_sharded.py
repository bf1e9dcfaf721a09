"""Folders of PyTorch's distributed format: whole, damaged, and made to harm."""

import os
import pickle

import pytest
import torch
import torch.distributed.checkpoint as dcp

from mmseg_deepvit.checkpoints import read_checkpoint, segmentor_state_dict
from mmseg_deepvit.checkpoints.sharded import MARK, METADATA, REST, take_out
from mmseg_deepvit.engine import find_whole_checkpoint
from mmseg_deepvit.errors import CheckpointError

CONTENT = {
    "state_dict": {"weight": torch.arange(12.0).view(4, 3), "count": torch.tensor(7)},
    "optimizer": {"state": {0: {"exp_avg": torch.ones(4, 3, dtype=torch.float64), "step": 2.0}}},
    "meta": {"iter": 5, "names": ["a", ("b", None)]},
}


def save(path):
    """As processes do it, but that one of them writes all of every matrix."""
    rest, tensors = take_out(CONTENT, lambda tensor: tensor.ndim == 2)
    dcp.save(tensors, storage_writer=dcp.FileSystemWriter(path), no_dist=True)
    torch.save(rest, path / REST)
    return path


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "iter_5.pth")


def test_what_is_read_is_what_was_saved(folder):
    rest = torch.load(folder / REST, weights_only=True)
    assert rest["state_dict"]["weight"] == {MARK: "state_dict.weight"}
    content = read_checkpoint(folder)
    assert content["meta"] == CONTENT["meta"]
    for key in ("state_dict", "optimizer"):
        torch.testing.assert_close(content[key], CONTENT[key])
    assert list(segmentor_state_dict(content, folder)) == ["weight", "count"]
    assert find_whole_checkpoint(folder.parent) == str(folder)


@pytest.mark.parametrize("part", ["__0_0.distcp", REST, METADATA])
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_part(folder, part, damage):
    """It is named, and resuming takes the checkpoint before."""
    save(folder.parent / "iter_4.pth")
    path = folder / part
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"iter_5\.pth"):
        read_checkpoint(folder)
    assert find_whole_checkpoint(folder.parent) == str(folder.parent / "iter_4.pth")


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_descriptions_that_would_run_code(folder, tmp_path):
    metadata = pickle.loads((folder / METADATA).read_bytes())
    metadata.planner_data = Harmful(tmp_path / "harm")
    (folder / METADATA).write_bytes(pickle.dumps(metadata))
    with pytest.raises(CheckpointError, match=r"posix\.mkdir is no description of tensors"):
        read_checkpoint(folder)
    assert not (tmp_path / "harm").exists()


def test_descriptions_of_files_elsewhere(folder):
    metadata = pickle.loads((folder / METADATA).read_bytes())
    (stored, *_) = metadata.storage_data.values()
    stored.relative_path = "../elsewhere"
    (folder / METADATA).write_bytes(pickle.dumps(metadata))
    with pytest.raises(CheckpointError, match="elsewhere is no file of it"):
        read_checkpoint(folder)


def test_objects_that_are_no_tensors(tmp_path):
    """PyTorch would read them by running what is in them."""
    writer = dcp.FileSystemWriter(tmp_path / "iter_1.pth")
    dcp.save({"object": Harmful(tmp_path / "harm")}, storage_writer=writer, no_dist=True)
    torch.save({"object": {MARK: "object"}}, tmp_path / "iter_1.pth" / REST)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "iter_1.pth")
    assert not (tmp_path / "harm").exists()


def test_a_mark_of_no_tensor(folder):
    torch.save({"state_dict": {"weight": {MARK: "state_dict.other"}}}, folder / REST)
    with pytest.raises(CheckpointError, match=r"iter_5\.pth .*state_dict\.other"):
        read_checkpoint(folder)
