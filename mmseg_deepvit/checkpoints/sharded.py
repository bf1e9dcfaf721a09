"""Checkpoints that several processes write together: folders of PyTorch's distributed format.

    iter_8000.pth/.metadata     which part of which tensor is in which file
                  __0_0.distcp  parts of tensors; a file of each process
                  rest.pth      all else, with a mark where each of these tensors belongs

PyTorch reads ``.metadata`` by running what is in it, and so it reads objects that are no tensors.
Here ``.metadata`` may hold PyTorch's own descriptions only, and the rest is a checkpoint file like
others.

Reference: PyTorch ``torch/distributed/checkpoint``.
Deviations: none in the format.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from ..errors import CheckpointError

REST, METADATA = "rest.pth", ".metadata"
#: The key of the dict of one entry that stands for a tensor in other files; its value is the name.
MARK = "__sharded__"
_DESCRIPTIONS = {
    "torch.distributed.checkpoint.metadata": (
        "Metadata",
        "TensorStorageMetadata",
        "TensorProperties",
        "ChunkStorageMetadata",
        "MetadataIndex",
        "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size",),
}


def is_sharded(path: str | os.PathLike) -> bool:
    """Whether a path is a folder that processes have written together."""
    return any((Path(path) / name).is_file() for name in (METADATA, REST))


def read_sharded(
    path: str | os.PathLike, read_file: Callable[[str], Mapping[str, Any]]
) -> dict[str, Any]:
    """Read a whole checkpoint into this process.

    Args:
        path: The folder.
        read_file: Reads the part that is a checkpoint file.

    Returns:
        What one process would have saved.

    Raises:
        CheckpointError: A part is missing or damaged, or of another kind.
    """
    described = _Reader(path).read_metadata().state_dict_metadata

    def whole(name: str) -> Tensor:
        about: Any = described[name]
        return torch.empty(about.size, dtype=about.properties.dtype)

    return fill(path, read_file(str(Path(path) / REST)), whole, alone=True)


def fill(
    path: str | os.PathLike,
    rest: Mapping[str, Any],
    target: Callable[[str], Tensor],
    alone: bool = False,
) -> dict[str, Any]:
    """Put tensors where their marks are.

    Args:
        path: The folder.
        rest: What its ``rest.pth`` holds.
        target: Makes the tensor, or this process' part of it, that the one of a name is read into.
        alone: Whether this process reads by itself; else all processes do at once.

    Returns:
        ``rest`` with tensors, a new dict.

    Raises:
        CheckpointError: A part is missing or damaged, or of another size than its target.
    """
    reader = _Reader(path)
    reader.check()
    tensors: dict[str, Tensor] = {}
    try:
        filled = _replace_marks(rest, lambda name: tensors.setdefault(name, target(name)))
        dcp.load(tensors, storage_reader=reader, no_dist=alone)
    except CheckpointError:
        raise
    except (Exception, dcp.api.CheckpointException) as error:
        raise _damaged(path, error) from error
    return filled


def check_sharded(path: str | os.PathLike) -> None:
    """Look whether every part is there and as long as it was.

    Raises:
        CheckpointError: One is not.
    """
    _Reader(path).check()


def take_out(tree: Any, is_shared: Callable[[Tensor], bool], name: str = "") -> Any:
    """Split a checkpoint into what becomes ``rest.pth`` and named tensors.

    Args:
        tree: Of dicts, lists and tuples.
        is_shared: Which tensors go into files of their own.
        name: Of the tree within a larger one.

    Returns:
        A copy with marks, and the tensors by their names.
    """
    if isinstance(tree, Tensor) and is_shared(tree):
        return {MARK: name}, {name: tree}
    if not isinstance(tree, (Mapping, list, tuple)) or hasattr(tree, "_fields"):
        return tree, {}
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    parts = {k: take_out(v, is_shared, f"{name}.{k}".lstrip(".")) for k, v in items}
    tensors = {k: v for part in parts.values() for k, v in part[1].items()}
    if not tensors:
        return tree, {}
    if isinstance(tree, Mapping):
        return {k: part[0] for k, part in parts.items()}, tensors
    return type(tree)(part[0] for part in parts.values()), tensors


def _replace_marks(tree: Any, tensor: Callable[[str], Tensor]) -> Any:
    if isinstance(tree, Mapping):
        if list(tree) == [MARK]:
            return tensor(str(tree[MARK]))
        if type(tree) is dict:
            return {k: _replace_marks(v, tensor) for k, v in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(_replace_marks(v, tensor) for v in tree)
    return tree


def _damaged(path: str | os.PathLike, error: BaseException) -> CheckpointError:
    causes = list(getattr(error, "failures", {}).values())
    cause = causes[0][0] if causes else error
    said = " ".join(str(cause).split()) or type(cause).__name__
    return CheckpointError(
        f"checkpoint {path} is damaged or belongs to another model ({said[:200]}): take an earlier "
        "one"
    )


class _Unpickler(pickle.Unpickler):
    """Builds PyTorch's descriptions of tensors and files, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if module.split(".")[0] == "pathlib" and name in ("PosixPath", "WindowsPath"):
            return PurePath  # where it was saved
        if name in _DESCRIPTIONS.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no description of tensors")


class _Reader(dcp.FileSystemReader):
    """PyTorch's reader, which runs nothing that is in ``.metadata``."""

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(path)
        self.folder = Path(path)

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read and check the descriptions."""
        try:
            with (self.folder / METADATA).open("rb") as file:
                metadata = _Unpickler(file).load()
            tensors = metadata.state_dict_metadata.values()
            if not all(isinstance(about, TensorStorageMetadata) for about in tensors):
                raise ValueError("something in it is no tensor")
            for stored in metadata.storage_data.values():
                name = stored.relative_path
                if Path(name).name != name or getattr(stored, "transform_descriptors", None):
                    raise ValueError(f"{name} is no file of it")
        except Exception as error:  # a damaged pickle raises anything
            raise _damaged(self.folder, error) from error
        if metadata.storage_meta is not None:
            metadata.storage_meta.load_id = self.load_id
        return metadata

    def check(self) -> None:
        """Look whether every part is there and as long as it was."""
        ends: dict[str, int] = {}
        for stored in self.read_metadata().storage_data.values():
            end = stored.offset + stored.length
            ends[stored.relative_path] = max(end, ends.get(stored.relative_path, 0))
        for name, end in ends.items():
            part = self.folder / name
            if not part.is_file() or part.stat().st_size < end:
                raise _damaged(self.folder, ValueError(f"{name} is not whole"))
