"""Folders of PyTorch's distributed format: intact, damaged, and made to harm."""

import os
import pickle
import random
from contextlib import contextmanager

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING

from mmseg_deepvit.checkpoints import Checkpoint, read_checkpoint, segmentor_state_dict
from mmseg_deepvit.checkpoints.sharded import (
    CHECKSUMS,
    MARK,
    METADATA,
    REST,
    checksum,
    fill,
    take_out,
)
from mmseg_deepvit.engine import find_whole_checkpoint
from mmseg_deepvit.errors import CheckpointError

from ..engine.resuming import differences

CONTENT = {
    "state_dict": {"weight": torch.arange(12.0).view(4, 3), "count": torch.tensor(7)},
    "optimizer": {"state": {0: {"exp_avg": torch.ones(4, 3, dtype=torch.float64), "step": 2.0}}},
    "meta": {"iter": 5, "names": ["a", ("b", None)]},
}


PART = "__0_0.distcp"


def save(path, content=CONTENT):
    """As processes do it, but that one of them writes all of every matrix."""
    rest, tensors = take_out(content, lambda tensor: tensor.ndim == 2)
    dcp.save(tensors, storage_writer=dcp.FileSystemWriter(path), no_dist=True)
    return seal(path, rest)


def seal(path, rest):
    """Write what is no shared tensor, with the checksums of what is there."""
    sums = {name: checksum(path / name) for name in (PART, METADATA)}
    torch.save({**rest, CHECKSUMS: sums}, path / REST)
    return path


@contextmanager
def changed_metadata(path):
    """Descriptions that can be changed; what is written has right checksums."""
    metadata = pickle.loads((path / METADATA).read_bytes())
    yield metadata
    (path / METADATA).write_bytes(pickle.dumps(metadata))
    seal(path, torch.load(path / REST, weights_only=True))


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "iter_5.pth")


def test_what_is_read_is_what_was_saved(folder):
    rest = torch.load(folder / REST, weights_only=True)
    assert rest["state_dict"]["weight"] == {MARK: "state_dict.weight"}
    content = read_checkpoint(folder)
    assert differences(content, CONTENT) == []
    assert list(segmentor_state_dict(content)) == ["weight", "count"]
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
    with changed_metadata(folder) as metadata:
        metadata.planner_data = Harmful(tmp_path / "harm")
    with pytest.raises(CheckpointError, match=r"posix\.mkdir is no description of tensors"):
        read_checkpoint(folder)
    assert not (tmp_path / "harm").exists()


class Attribute:
    """Unpickles to an attribute, as members of enums do that Python 3.11.0 to 3.11.3 wrote."""

    def __init__(self, *owner_and_name):
        self.owner_and_name = owner_and_name

    def __reduce__(self):
        return getattr, self.owner_and_name


def test_members_of_enums_by_name(folder):
    with changed_metadata(folder) as metadata:
        metadata.planner_data = Attribute(_MEM_FORMAT_ENCODING, "TORCH_CONTIGUOUS_FORMAT")
    assert differences(read_checkpoint(folder)["state_dict"], CONTENT["state_dict"]) == []


@pytest.mark.parametrize("name", ["__init__", "__class__"])
def test_other_attributes(folder, name):
    with changed_metadata(folder) as metadata:
        metadata.planner_data = Attribute(type(metadata), name)
    with pytest.raises(CheckpointError, match=r"builtins\.getattr is no description of tensors"):
        read_checkpoint(folder)


def test_descriptions_of_files_elsewhere(folder):
    with changed_metadata(folder) as metadata:
        next(iter(metadata.storage_data.values())).relative_path = "../elsewhere"
    with pytest.raises(CheckpointError, match="elsewhere is no file of it"):
        read_checkpoint(folder)


def test_objects_that_are_no_tensors(tmp_path):
    """PyTorch would read them by running what is in them."""
    writer = dcp.FileSystemWriter(tmp_path / "iter_1.pth")
    dcp.save({"object": Harmful(tmp_path / "harm")}, storage_writer=writer, no_dist=True)
    seal(tmp_path / "iter_1.pth", {"object": {MARK: "object"}})
    with pytest.raises(CheckpointError, match=r"is no (description of tensors|tensor)"):
        read_checkpoint(tmp_path / "iter_1.pth")
    assert not (tmp_path / "harm").exists()


def test_a_mark_of_no_tensor(folder):
    seal(folder, {"state_dict": {"weight": {MARK: "state_dict.other"}}})
    with pytest.raises(CheckpointError, match=r"iter_5\.pth .*state_dict\.other"):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", [PART, REST, METADATA])
def test_a_bit_that_has_flipped(folder, name):
    """It is told, or it stands where nothing is read from, as dates in archives do."""
    content, moments = (folder / name).read_bytes(), random.Random(0)
    refused = 0
    for _ in range(60):
        place = moments.randrange(len(content))
        flipped = bytes([content[place] ^ 1 << moments.randrange(8)])
        (folder / name).write_bytes(content[:place] + flipped + content[place + 1 :])
        try:
            read = read_checkpoint(folder)
        except CheckpointError:
            refused += 1
        else:
            assert name == REST
            assert differences(read, CONTENT) == []
    assert refused == 60 or name == REST
    assert refused > 10


def test_a_folder_of_an_earlier_version(folder):
    """It has no checksums, and is read as before."""
    torch.save(take_out(CONTENT, lambda tensor: tensor.ndim == 2)[0], folder / REST)
    with pytest.warns(UserWarning, match=r"iter_5\.pth was saved without checksums"):
        assert differences(read_checkpoint(folder), CONTENT) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about, part, stored: about.update(size=torch.Size((1000, 3))), "is missing"),
        (lambda about, part, stored: part.update(sizes=torch.Size((1000, 3))), "larger than"),
        (lambda about, part, stored: part.update(sizes=torch.Size((4, 2))), "not made up"),
        (lambda about, part, stored: about.update(chunks=[]), "is missing"),
        (lambda about, part, stored: stored.update(length=10**12), "is cut short|overlap"),
        (lambda about, part, stored: stored.update(offset=-1), "overlap"),
    ],
)
def test_parts_that_make_up_no_tensor(folder, change, message):
    """Memory would stay as it was, or be asked for without end."""
    with changed_metadata(folder) as metadata:
        name, about = next(iter(metadata.state_dict_metadata.items()))
        (stored,) = [v for k, v in metadata.storage_data.items() if k.fqn == name]
        change(vars(about), vars(about.chunks[0]), vars(stored))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder)


def test_dicts_that_share_dicts(folder):
    """A walk that took each as often as it is named would not end in this life."""
    tree = torch.zeros(2, 2)
    for _ in range(60):
        tree = {"a": tree, "b": tree}
    rest = torch.load(folder / REST, weights_only=True)
    read = read_checkpoint(seal(folder, {**rest, "tree": tree, "list": [rest["meta"]] * 2}))
    assert read["list"][0] is read["list"][1]
    for _ in range(60):
        assert read["tree"]["a"] is read["tree"]["b"]
        read["tree"] = read["tree"]["a"]


def test_a_dict_in_itself_and_one_too_deep(folder):
    rest = torch.load(folder / REST, weights_only=True)
    rest["self"] = rest["meta"]["self"] = rest["meta"]
    assert (read := read_checkpoint(seal(folder, rest)))["self"] is read["self"]["self"]
    deep = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(CheckpointError, match="damaged"):
        fill(Checkpoint({"deep": deep}, folder / REST), torch.empty, alone=True)
