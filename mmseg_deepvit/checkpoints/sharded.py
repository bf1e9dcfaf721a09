"""Checkpoints that several processes write together: folders of PyTorch's distributed format.

    iter_8000.pth/.metadata     which part of which tensor is in which file
                  __0_0.distcp  parts of tensors; a file of each process
                  rest.pth      all else, with marks where these tensors belong, and the checksums
                                of the other files

PyTorch unpickles ``.metadata``, and all objects but tensors, which runs any code in them. Here
``.metadata`` may hold PyTorch's own descriptions only, and the rest is an ordinary checkpoint file.
PyTorch also accepts damaged tensors, and tensors without all their parts. Here files are compared
with their checksums, and parts must make up their tensor.

Reference: PyTorch ``torch/distributed/checkpoint``.
Deviations: none in the format.
"""

from __future__ import annotations

import os
import pickle
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from enum import EnumMeta
from math import prod
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from ..errors import CheckpointError, reason
from .checkpoint import Checkpoint

REST, METADATA = "rest.pth", ".metadata"
#: Key of a mark: a dict with one entry, whose value names a tensor in other files.
MARK = "__sharded__"
#: Key of ``rest.pth`` for the CRC-32 of the other files, by their names.
CHECKSUMS = "__checksums__"
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


def is_sharded(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder that several processes have written."""
    folder = Path(path)
    known = any((folder / name).is_file() for name in (METADATA, REST))
    return known or next(folder.glob("__*.distcp"), None) is not None


def read_sharded(rest: Checkpoint) -> Checkpoint:
    """Read into this process what one process would have saved; errors are those of :func:`fill`.

    Args:
        rest: Content of the folder's ``rest.pth``.
    """
    return fill(rest, lambda _, about: torch.empty(about.size, dtype=about.properties.dtype))


def fill(
    rest: Checkpoint,
    target: Callable[[str, TensorStorageMetadata], Tensor],
    alone: bool = True,
) -> Checkpoint:
    """Replace marks by their tensors.

    Args:
        rest: Content of the folder's ``rest.pth``.
        target: Function that makes the tensor to read into, or this process' part of it, by name
            and description.
        alone: Whether this process reads by itself; else all processes read at once.

    Returns:
        Copy of ``rest`` with tensors and without checksums.

    Raises:
        CheckpointError: A part is missing or damaged, or of another size than its target.
    """
    reader = _Reader(rest)
    described: Mapping[str, Any] = reader.read_metadata().state_dict_metadata
    tensors: dict[str, Tensor] = {}

    def tensor(name: str) -> Tensor:
        if name not in described:
            raise ValueError(f"no part of {name} is there")
        if name not in tensors:
            tensors[name] = target(name, described[name])
        return tensors[name]

    try:
        content = {k: v for k, v in rest.items() if k != CHECKSUMS}
        filled: dict[str, Any] = _replace_marks(content, tensor, {})
        load(tensors, storage_reader=reader, no_dist=alone)
    except CheckpointError:
        raise
    except (Exception, CheckpointException) as error:
        raise _damaged(reader.folder, error) from error
    return Checkpoint(filled, reader.folder)


def check_sharded(rest: Checkpoint) -> None:
    """Raise CheckpointError if a part is missing or damaged; ``rest`` is from ``rest.pth``."""
    reader = _Reader(rest)
    stored = reader.read_metadata().storage_data.values()
    try:
        reader.compare(part.relative_path for part in stored)
    except (OSError, ValueError) as error:
        raise _damaged(reader.folder, error) from error


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def take_out(tree: Any, is_shared: Callable[[Tensor], bool], name: str = "") -> Any:
    """Split a checkpoint into the content of ``rest.pth`` and named tensors.

    Args:
        tree: Tree of dicts, lists and tuples.
        is_shared: Function that tells the tensors to take out.
        name: Name of the tree within a larger one.

    Returns:
        Copy with marks, and the tensors by their names.
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


def _replace_marks(tree: Any, tensor: Callable[[str], Tensor], seen: dict[int, Any]) -> Any:
    """Copy a tree with tensors for marks; a part that stands in several places is copied once."""
    if isinstance(tree, Mapping) and len(tree) == 1 and MARK in tree:
        return tensor(str(tree[MARK]))
    if type(tree) not in (dict, list, tuple):
        return tree
    if id(tree) in seen:
        return seen[id(tree)]
    copy: Any
    if type(tree) is dict:
        copy = seen[id(tree)] = {}
        copy.update((k, _replace_marks(v, tensor, seen)) for k, v in tree.items())
    elif type(tree) is list:
        copy = seen[id(tree)] = []
        copy.extend(_replace_marks(v, tensor, seen) for v in tree)
    else:
        copy = seen[id(tree)] = tuple(_replace_marks(v, tensor, seen) for v in tree)
    return copy


def cause_of(error: BaseException) -> BaseException:
    """The first process' error in PyTorch's CheckpointException, or the error itself."""
    causes = list(getattr(error, "failures", {}).values())
    return causes[0][0] if causes else error


def _damaged(path: Path, error: BaseException) -> CheckpointError:
    said = reason(cause_of(error), most=200)
    return CheckpointError(
        f"checkpoint {path} is damaged or belongs to another model ({said}); take an earlier one"
    )


class _Unpickler(pickle.Unpickler):
    """Builds PyTorch's descriptions of tensors and files, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if module.split(".")[0] == "pathlib" and name in ("PosixPath", "WindowsPath"):
            return PurePath  # the folder's path when it was saved
        if name in _DESCRIPTIONS.get(module, ()):
            return super().find_class(module, name)
        if (module, name) == ("builtins", "getattr"):  # how Python 3.11.0 to 3.11.3 write an enum
            return _enum_member
        raise pickle.UnpicklingError(f"{module}.{name} is no description of tensors")


def _enum_member(kind: Any, name: Any) -> Any:
    if isinstance(kind, EnumMeta):
        return kind[name]
    raise pickle.UnpicklingError("builtins.getattr is no description of tensors")


class _Reader(FileSystemReader):
    """PyTorch's reader, which runs no code of ``.metadata`` and accepts undamaged files only.

    Args:
        rest: Content of the folder's ``rest.pth``.
    """

    def __init__(self, rest: Checkpoint) -> None:
        self.folder = Path(rest.path).parent
        super().__init__(self.folder)
        checksums = rest.get(CHECKSUMS)
        self.checksums = dict(checksums) if isinstance(checksums, Mapping) else None
        self._metadata: Metadata | None = None

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read and check the descriptions, once."""
        if self._metadata is None:
            if self.checksums is None:
                said = f"{self.folder} was saved without checksums; damage may not be seen"
                warnings.warn(said, stacklevel=2)
            try:
                self.compare([METADATA])
                with (self.folder / METADATA).open("rb") as file:
                    self._metadata = _Unpickler(file).load()
                self._check_files(self._metadata)
                self._check_parts(self._metadata)
            except Exception as error:  # a damaged pickle raises anything
                self._metadata = None
                raise _damaged(self.folder, error) from error
        if self._metadata.storage_meta is not None:
            self._metadata.storage_meta.load_id = self.load_id
        return self._metadata

    def read_data(self, plan: Any, planner: Any) -> Any:
        """Read tensors from undamaged files."""
        stored = [self.storage_data[item.storage_index] for item in plan.items]
        self.compare(part.relative_path for part in stored)
        return super().read_data(plan, planner)

    def compare(self, names: Iterable[str]) -> None:
        """Compare files with their checksums; ValueError names one that differs."""
        if self.checksums is None:
            return
        for name in dict.fromkeys(names):
            if checksum(self.folder / name) != self.checksums.get(name):
                raise ValueError(f"{name} is not as it was written")

    def _check_files(self, metadata: Metadata) -> None:
        """Raise ValueError unless each part has its own place in a file of the folder."""
        places: dict[str, list[tuple[int, int]]] = {}
        for stored in metadata.storage_data.values():
            name = stored.relative_path
            if Path(name).name != name or getattr(stored, "transform_descriptors", None):
                raise ValueError(f"{name} is no file of it")
            places.setdefault(name, []).append((stored.offset, stored.length))
        for name, parts in places.items():
            end = 0
            for offset, length in sorted(parts):
                if offset < end or length < 0:
                    raise ValueError(f"parts in {name} overlap")
                end = offset + length
            if not (self.folder / name).is_file() or (self.folder / name).stat().st_size < end:
                raise ValueError(f"{name} is cut short")

    @staticmethod
    def _check_parts(metadata: Metadata) -> None:
        """Raise ValueError unless parts make up their tensors and are no larger than stored.

        Each part is a slice of the first dimension, as FSDP splits tensors.
        """
        lengths = {
            (index.fqn, tuple(index.offset or ())): stored.length
            for index, stored in metadata.storage_data.items()
        }
        for name, about in metadata.state_dict_metadata.items():
            if not isinstance(about, TensorStorageMetadata):
                raise ValueError("something in it is no tensor")
            size, bytes_each, end = tuple(about.size), about.properties.dtype.itemsize, 0
            for part in sorted(about.chunks, key=lambda part: tuple(part.offsets)):
                begin, sizes = tuple(part.offsets), tuple(part.sizes)
                if begin != (end, *[0] * (len(size) - 1))[: len(size)] or sizes[1:] != size[1:]:
                    raise ValueError(f"{name} is not made up of its parts")
                if prod(sizes) * bytes_each > lengths[name, begin]:
                    raise ValueError(f"a part of {name} is larger than its file says")
                end += sizes[0] if sizes else 1
            if end != (size[0] if size else 1):
                raise ValueError(f"a part of {name} is missing")
