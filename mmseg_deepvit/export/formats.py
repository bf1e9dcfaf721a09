"""Writing and reading of the three formats.

ONNX files are made from the graph of ``torch.export`` (``dynamo=True``), the same that ``--format
exported-program`` saves. PyTorch's older, deprecated exporter takes neither adaptive pooling nor
varying sizes. Opset 18 is the lowest that the exporter writes without conversion; runtimes from
2023 on run it. TorchScript is traced.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import UserError, first_line
from ..inference.exported import Metadata
from ..inference.exported.onnx_runtime import INPUT, MAX_ONNX_BYTES, OUTPUT, require, run_of

OPSET = 18
#: Name of the extra file in TorchScript and torch.export archives.
EXTRA_FILE = "metadata.json"


class Format(NamedTuple):
    """A format of exported files.

    Attributes:
        suffix: Ending of the files.
        write: Function of network, example input, whether sizes vary, metadata and path.
        read: Function from a path to a function that computes logits.
    """

    suffix: str
    write: Callable[[nn.Module, Tensor, bool, Metadata, Path], None]
    read: Callable[[Path], Callable[[Tensor], Tensor]]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporters' warnings and logs, which are about their internals."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def capture(network: nn.Module, example: Tensor, dynamic: bool) -> torch.export.ExportedProgram:
    """Capture the graph of a network.

    Args:
        network: Network of one input and one output.
        example: Images, (B, channels, H, W); with ``dynamic`` B, H and W differ, and none is 1.
        dynamic: Whether batch, height and width vary.

    Raises:
        UserError: The network cannot be captured so.
    """
    hint = getattr(torch.export.Dim, "DYNAMIC", None)
    if dynamic and hint is None:
        raise UserError("--dynamic needs PyTorch 2.6 or newer in this format; use --shape")
    shapes = ({0: hint, 2: hint, 3: hint},) if dynamic else None
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(network, (example,), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # the exporter's errors have no common type
        raise _refusal(network, dynamic, error) from error


def _refusal(network: nn.Module, dynamic: bool, error: Exception) -> UserError:
    backbone = type(getattr(getattr(network, "model", None), "backbone", network)).__name__
    if dynamic:
        return UserError(f"{backbone} cannot take varying sizes in this format; use --shape")
    said = first_line(error)  # exporters write pages
    return UserError(f"{backbone} cannot be exported in this format ({said}); use another --format")


def write_onnx(
    network: nn.Module, example: Tensor, dynamic: bool, metadata: Metadata, path: Path
) -> None:
    """Write an ONNX file whose ``metadata_props`` hold the metadata.

    Raises:
        UserError: onnx, onnxscript or onnxruntime is missing, the file would be too large, or the
            graph has operators outside of ONNX.
    """
    require("onnx", "onnxscript", "onnxruntime")
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size >= MAX_ONNX_BYTES:
        raise UserError(
            f"an ONNX file holds up to 2 GiB and the weights have {size / 2**30:.1f}; use --format "
            "torchscript or exported-program"
        )
    graph = capture(network, example, dynamic)
    with _quiet():
        program = torch.onnx.export(
            graph,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    model: Any = program.model
    foreign = {node.domain for node in model.graph.all_nodes()} - {"", "ai.onnx"}
    if foreign or model.functions:
        raise UserError(
            f"the graph has operators of {sorted(foreign)}, outside of ONNX; use another --format"
        )
    if dynamic:
        for value in (model.graph.inputs[0], model.graph.outputs[0]):
            for dim, name in ((0, "batch"), (2, "height"), (3, "width")):
                value.shape[dim] = name
    model.metadata_props.update(metadata.to_strings())
    program.save(str(path), external_data=False)


def read_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """Open an ONNX file on the CPU."""
    (runtime,) = require("onnxruntime")
    return run_of(runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"]))


def write_torchscript(
    network: nn.Module, example: Tensor, dynamic: bool, metadata: Metadata, path: Path
) -> None:
    """Trace a network into a TorchScript file whose ``metadata.json`` holds the metadata."""
    jit: Any = torch.jit  # PyTorch gives it no types
    try:
        with torch.no_grad(), _quiet():
            traced = jit.trace(network, example, check_trace=False)
    except RuntimeError as error:
        raise _refusal(network, dynamic, error) from error
    with _quiet():
        jit.save(traced, str(path), _extra_files=_extra_files(metadata))


def read_torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    """Open a TorchScript file on the CPU."""
    jit: Any = torch.jit
    with _quiet():
        network: Callable[[Tensor], Tensor] = jit.load(str(path), map_location="cpu")
    return network


def write_program(
    network: nn.Module, example: Tensor, dynamic: bool, metadata: Metadata, path: Path
) -> None:
    """Write a ``torch.export`` archive whose ``metadata.json`` holds the metadata."""
    graph = capture(network, example, dynamic)
    with _quiet(), path.open("wb") as file:  # a file object, as a path would have to end in .pt2
        torch.export.save(graph, file, extra_files=_extra_files(metadata))


def read_program(path: Path) -> Callable[[Tensor], Tensor]:
    """Open a ``torch.export`` archive."""
    with _quiet(), path.open("rb") as file:
        return torch.export.load(file).module()


def _extra_files(metadata: Metadata) -> dict[str, str]:
    facts = {name: json.loads(value) for name, value in metadata.to_strings().items()}
    return {EXTRA_FILE: json.dumps(facts, ensure_ascii=False, indent=1)}


#: Formats by their names in ``tools/export.py --format``.
FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", write_onnx, read_onnx),
    "torchscript": Format(".pt", write_torchscript, read_torchscript),
    "exported-program": Format(".pt2", write_program, read_program),
}
