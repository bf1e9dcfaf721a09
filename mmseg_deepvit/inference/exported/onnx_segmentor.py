"""Prediction with an exported ONNX file by onnxruntime; the file may be malicious."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ...checkpoints import Checkpoint
from ...checkpoints.compatibility import check_finite
from ...errors import CheckpointError, UserError, first_line
from .exported_segmentor import ExportedSegmentor
from .metadata import Metadata
from .onnx_runtime import MAX_ONNX_BYTES, require, run_of


class OnnxSegmentor(ExportedSegmentor):
    """An exported segmentor in an ONNX file.

    Args:
        path: Path of an ONNX file from ``tools/export.py``.
        device: ``'cpu'``, or ``'cuda'`` (``'cuda:1'``) with onnxruntime-gpu.

    Raises:
        UserError: onnxruntime is missing, the file cannot be read or is not from tools/export.py,
            it holds NaN or loops, or there is no such device.
    """

    def __init__(self, path: str | os.PathLike[str], device: str = "cpu") -> None:
        runtime, onnx = require("onnxruntime", "onnx")
        data = _read(path)
        providers = _providers(runtime, device)
        try:
            model = onnx.load_model_from_string(data)
        except Exception as error:  # protobuf's errors have no common type
            raise _no_onnx(path, error) from error
        _check_graph(model, path)
        _check_weights(onnx, model, path)
        metadata = Metadata.from_strings({p.key: p.value for p in model.metadata_props}, path)
        del model  # as large as the weights
        try:
            session = runtime.InferenceSession(data, providers=providers)
        except Exception as error:  # onnxruntime's errors have no common type
            raise _no_onnx(path, error) from error
        super().__init__(run_of(session), metadata)


def _no_onnx(path: str | os.PathLike[str], error: Exception) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} is no ONNX that runs ({first_line(error)}); write it by tools/export.py"
    )


def _read(path: str | os.PathLike[str]) -> bytes:
    if not os.path.isfile(path):
        raise CheckpointError(f"checkpoint {path} does not exist; write it by tools/export.py")
    if os.path.getsize(path) > MAX_ONNX_BYTES:
        raise CheckpointError(
            f"checkpoint {path} has more than the 2 GiB of an ONNX file; write it by "
            "tools/export.py"
        )
    with open(path, "rb") as file:
        return file.read(MAX_ONNX_BYTES)


def _check_graph(model: Any, path: str | os.PathLike[str]) -> None:
    """Refuse loops and functions, which may never end, and weights in other files or pipes."""
    loops = [n for n in model.graph.node if any(a.HasField("g") or a.graphs for a in n.attribute)]
    if loops or model.functions:
        what = loops[0].op_type if loops else "function"
        raise CheckpointError(
            f"checkpoint {path} holds a {what}, which may never end and which tools/export.py does "
            "not write; export the checkpoint again"
        )
    if any(tensor.data_location for tensor in _tensors(model)):
        raise CheckpointError(
            f"checkpoint {path} keeps weights in another file, which tools/export.py does not do; "
            "export the checkpoint again"
        )


def _check_weights(onnx: Any, model: Any, path: str | os.PathLike[str]) -> None:
    types = onnx.TensorProto
    floats = (types.FLOAT, types.DOUBLE, types.FLOAT16, types.BFLOAT16)
    bad = {}  # bad tensors only: all weights would take the file's size in memory again
    for tensor in model.graph.initializer:
        try:
            array = onnx.numpy_helper.to_array(tensor)
        except Exception as error:  # the bytes do not fit the shape
            raise _no_onnx(path, error) from error
        if tensor.data_type in floats and not np.isfinite(array).all():
            bad[tensor.name] = torch.from_numpy(array.astype(np.float32))
    check_finite(Checkpoint(bad, path))


def _tensors(model: Any) -> Iterator[Any]:
    """List the weights and constants of a graph."""
    yield from model.graph.initializer
    for sparse in model.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in (a for node in model.graph.node for a in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors


def _providers(runtime: Any, device: str) -> list[Any]:
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    name = "CUDAExecutionProvider"
    if kind != "cuda" or name not in runtime.get_available_providers():
        raise UserError(f"device {device} cannot be used by this onnxruntime; try --device cpu")
    return [(name, {"device_id": int(index or 0)}), "CPUExecutionProvider"]
