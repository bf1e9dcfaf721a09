import os
import pickle
import sys
import zipfile
from argparse import Namespace
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from mmseg_deepvit.checkpoints import Checkpoint, read_checkpoint
from mmseg_deepvit.errors import CheckpointError

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


class Malicious:
    """Runs a command where it is unpickled."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_reads_weights(tmp_path, legacy):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": WEIGHTS}, path, _use_new_zipfile_serialization=not legacy)
    torch.testing.assert_close(read_checkpoint(path)["state_dict"], WEIGHTS)
    torch.testing.assert_close(read_checkpoint(str(path))["state_dict"], WEIGHTS)


def test_reads_what_mmengine_writes_beside_weights(tmp_path):
    history = HistoryBuffer(np.array([1.0, 2.0]), np.array([1, 1]))
    content = {
        "state_dict": WEIGHTS,
        "message_hub": {"log_scalars": {"loss": history}, "resumed": np.float64(3.0)},
        "meta": {"seed": np.int64(4), "classes": ("a", "b"), "palette": np.zeros((2, 3), np.uint8)},
    }
    torch.save(content, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")
    torch.testing.assert_close(read["state_dict"], WEIGHTS)
    assert read["meta"]["seed"] == 4
    assert read["message_hub"]["resumed"] == 3.0
    assert not isinstance(read["message_hub"]["log_scalars"]["loss"], HistoryBuffer)


def test_reads_what_training_scripts_write_beside_weights(tmp_path, monkeypatch):
    """timm's and DeiT's arguments, and Swin's configuration, whose package need not be here."""

    class CfgNode(dict):
        def __init__(self, content):
            super().__init__(content)
            self.__dict__["__immutable__"] = True

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    for name in ("yacs", "yacs.config"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["yacs.config"].CfgNode = CfgNode
    content = {"args": Namespace(lr=0.1), "config": CfgNode({"MODEL": CfgNode({"DEPTH": 2})})}
    torch.save({"model": WEIGHTS, **content}, tmp_path / "a.pth")
    monkeypatch.undo()
    read = read_checkpoint(tmp_path / "a.pth")
    torch.testing.assert_close(dict(read.find_backbone()), WEIGHTS)
    assert read["args"].lr == 0.1
    assert read["config"]["MODEL"]["DEPTH"] == 2


@pytest.mark.parametrize("where", ["top", "next to the weights", "in a history"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, where):
    proof = tmp_path / "proof"
    payload = Malicious(proof)
    content = {
        "top": payload,
        "next to the weights": {"state_dict": WEIGHTS, "meta": {"env": payload}},
        "in a history": {"state_dict": WEIGHTS, "message_hub": _history_holding(payload)},
    }[where]
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"not plain data.*run code from the file") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not proof.exists()
    torch.load(path, weights_only=False)  # the payload is real
    assert proof.exists()


def _history_holding(payload):
    history = HistoryBuffer()
    history.__dict__["extra"] = payload
    return history


def test_getattr_in_a_file_is_inert(tmp_path):
    """mmengine's histories name ``getattr``; the real one would reach code from any object."""

    class Reach:
        def __reduce__(self):
            return getattr, (np.ndarray, "tofile")

    torch.save({"state_dict": WEIGHTS, "reached": Reach()}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth")["reached"] is None


@pytest.mark.parametrize("keep", [0, 1, 100, 600])
def test_truncated_files(tmp_path, keep):
    torch.save({"state_dict": WEIGHTS}, tmp_path / "whole.pth")
    path = tmp_path / "cut.pth"
    path.write_bytes((tmp_path / "whole.pth").read_bytes()[:keep])
    with pytest.raises(
        CheckpointError, match=r"cut\.pth is damaged or not a PyTorch file"
    ) as caught:
        read_checkpoint(path)
    assert "weights_only" not in str(caught.value), "advice to run the file's code"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_reads_safetensors_by_their_content(tmp_path, name):
    save_file(WEIGHTS, tmp_path / name)
    torch.testing.assert_close(dict(read_checkpoint(tmp_path / name)), WEIGHTS)


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_truncated_safetensors(tmp_path, keep):
    save_file(WEIGHTS, tmp_path / "whole.safetensors")
    path = tmp_path / "cut.safetensors"
    path.write_bytes((tmp_path / "whole.safetensors").read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors is damaged or not a") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_pytorch_file_with_the_ending_of_safetensors(tmp_path):
    torch.save(WEIGHTS, tmp_path / "a.safetensors")
    torch.testing.assert_close(dict(read_checkpoint(tmp_path / "a.safetensors")), WEIGHTS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"not a PyTorch file \(it is empty\); download"),
        (b"hello\nworld", r"not a PyTorch file \(it is text, 'hello'\)"),
        (b'{"error": "Repository not found"}', r"it is text, '\{\\?\"error"),
        (b"\n<!DOCTYPE html><title>\xc3\xa9</title>", r"web page, so its download failed"),
        (b"version https://git-lfs.github.com/spec/v1\noid 1", r"pointer of Git LFS.*git lfs pull"),
        (pickle.dumps([1, 2]), r"is damaged or not a PyTorch file"),
        (bytes(range(256)), r"is damaged or not a PyTorch file"),
    ],
)
def test_files_of_other_kinds(tmp_path, content, message):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_archives(tmp_path):
    archive = tmp_path / "archive.pth"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"archive\.pth.*zip archive of readme\.txt\)"):
        read_checkpoint(archive)
    np.savez(tmp_path / "B_16.npz", a=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"B_16\.npz is a NumPy archive.*timm://NAME"):
        read_checkpoint(tmp_path / "B_16.npz")


def test_a_list_is_no_checkpoint(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"holds a list, not a dict of weights"):
        read_checkpoint(tmp_path / "a.pth")


def test_paths(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pth does not exist"):
        read_checkpoint(tmp_path / "nowhere.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)


def test_finding_weights_keeps_the_file_as_it_is():
    content = {"model": {"module.a": torch.zeros(1), "epoch": 3}, "optimizer": {}}
    assert list(dict(Checkpoint(content, "x").find_backbone())) == ["a"]
    assert list(content["model"]) == ["module.a", "epoch"]


@pytest.mark.parametrize("empty", [None, {}, {"step": 3}])
def test_a_container_without_weights_is_passed_over(empty):
    content = {"state_dict_ema": empty, "state_dict": WEIGHTS}
    torch.testing.assert_close(dict(Checkpoint(content, "x").find_backbone()), WEIGHTS)
