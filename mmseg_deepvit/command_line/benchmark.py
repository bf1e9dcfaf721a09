"""Measure times in turn and peak memory, and describe the machine."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.benchmark import timer

from .results import writing

#: Figures of one candidate by name.
Figures = dict[str, Any]


@dataclass(frozen=True)
class Times:
    """Times of one candidate, in seconds.

    Attributes:
        median: Median over the rounds.
        low: Lower quartile.
        high: Upper quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """Median and quartiles of one or more times."""
        if len(seconds) == 1:
            return cls(seconds[0], seconds[0], seconds[0])
        low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
        return cls(median, low, high)

    def __str__(self) -> str:
        """Milliseconds: median, then the quartiles."""
        return f"{1e3 * self.median:.4g} ({1e3 * self.low:.4g}–{1e3 * self.high:.4g})"


def interleaved_times(
    candidates: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, Times]:
    """Time candidates in turn, round after round, so that a slow moment affects all alike.

    Args:
        candidates: Functions by name; each runs once unmeasured first.
        rounds: Number of measured runs of each, at least 1.

    Returns:
        Times by name; PyTorch's timer waits for the GPU where there is one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for function in candidates.values():
        function()
    for _ in range(rounds):
        for name, function in candidates.items():
            start = timer()
            function()
            seconds[name].append(timer() - start)
    return {name: Times.of(s) for name, s in seconds.items()}


@dataclass(frozen=True)
class Limits:
    """Highest speeds of a machine.

    Attributes:
        operations: Floating-point operations a second, in a large matrix product.
        bytes: Bytes read and written a second, in a large copy.
    """

    operations: float
    bytes: float

    def seconds(self, operations: float, size: float) -> float:
        """Least time for a number of operations and for bytes to be read and written."""
        return max(operations / self.operations, size / self.bytes)


def measure_limits(dtype: torch.dtype, device: torch.device) -> Limits:
    """Time a large matrix product of a dtype, and a large copy."""
    size = 1024 if device.type == "cpu" else 8192
    x = torch.randn(size, size, device=device).to(dtype)
    source = torch.zeros(2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    calls = {"product": lambda: x @ x, "copy": lambda: target.copy_(source)}
    times = interleaved_times(calls, 10)
    product, copy = times["product"].low, times["copy"].low
    return Limits(2 * size**3 / product, 2 * source.nbytes / copy)


#: Operators of attention that builds no maps, and of linear layers.
_ATTENTION = ("mmseg_deepvit::streamed", "aten::_scaled_dot_product")
_LINEAR = ("aten::addmm", "aten::mm")


class Shares(NamedTuple):
    """Shares of a run's time that PyTorch's profiler sees, each in [0, 1].

    Attributes:
        attention: Attention without its projections.
        linear: Products of linear layers, these projections included.
    """

    attention: float
    linear: float


def time_shares(function: Callable[[], object], device: torch.device) -> Shares | None:
    """Profile a run.

    Returns:
        Shares; None where attention uses the same operators as other layers (full maps).
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    clock = "cpu"
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        clock = "device"
    with torch.profiler.profile(activities=activities) as profiler:
        function()
    found = profiler.key_averages()
    total = sum(getattr(e, f"self_{clock}_time_total") for e in found)
    inside, linear = (
        sum(getattr(e, f"{clock}_time_total") for e in found if chosen(e.key))
        for chosen in (lambda key: key.startswith(_ATTENTION), lambda key: key in _LINEAR)
    )
    return Shares(inside / total, linear / total) if inside else None


def peak_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """Memory that a run takes above what was in use before it.

    On a GPU PyTorch counts it. On Linux it is the largest growth of the process' resident memory,
    after free memory was given back to the system.

    Returns:
        Bytes; None where the system does not tell, and then the function is not run.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    start = _reset_peak()
    if start is None:
        return None
    function()
    return max(_status_bytes("VmHWM") - start, 0)


def _reset_peak() -> int | None:
    """Bytes in use now; from now on the system keeps the peak. None where it does not tell."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        _status_bytes("VmHWM")
        return _status_bytes("VmRSS")
    except (AttributeError, OSError):
        return None


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")


def relative_error(actual: torch.Tensor, exact: torch.Tensor) -> float:
    """Largest absolute difference over the largest absolute value of ``exact``."""
    exact = exact.double()
    largest = exact.abs().max().item()
    return ((actual.double() - exact).abs().max() / (largest or 1.0)).item()


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Processor or GPU, threads and versions, which figures depend on."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    machine: dict[str, str | int] = {
        "processor": processor,
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    return machine


def write_json(
    path: str, machine: Mapping[str, Any], settings: Mapping[str, Any], results: list[Figures]
) -> None:
    """Write what was measured.

    Raises:
        UserError: The file cannot be written.
    """
    results = [
        {k: asdict(v) if isinstance(v, Times) else v for k, v in result.items()}
        for result in results
    ]
    content = {"machine": machine, "settings": settings, "results": results}
    with writing(path, "--json") as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def plot_lines(
    path: str, x_label: str, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]
) -> None:
    """Draw panels of lines side by side, all axes logarithmic.

    Args:
        path: Path of the picture; its ending is the format.
        x_label: Label of each x axis.
        panels: Lines by the label of the y axis; of each line by name, its (x, y) points.

    Raises:
        UserError: The file cannot be written.
    """
    from matplotlib.figure import Figure  # slow to import, and only plots want it

    figure = Figure(figsize=(5 * len(panels), 3.6), layout="constrained")
    for axes, (label, lines) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=label)
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    with writing(path, "--plot") as part:
        figure.savefig(part, format=Path(path).suffix[1:] or "png", dpi=110)
