"""Measuring: interleaved times, peak memory, and what they were measured on."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..attention.blockwise import release_buffers
from ..errors import UserError
from ..files import replacing


@dataclass(frozen=True)
class Times:
    """Times of one candidate, in seconds.

    Attributes:
        median: Over the rounds.
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
    candidates: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, Times]:
    """Time candidates in turn, round after round, so that a slow moment hits all alike.

    Args:
        candidates: What to run, by name; each runs once unmeasured first.
        rounds: Measured runs of each, at least 1.
        device: What they run on; a GPU measures by its own clock.

    Returns:
        Times by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for function in candidates.values():
        function()
    for _ in range(rounds):
        for name, function in candidates.items():
            seconds[name].append(_time(function, device))
    return {name: Times.of(s) for name, s in seconds.items()}


def _time(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of one run, on a GPU by its own clock."""
    if device.type != "cuda":
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    torch.cuda.synchronize(device)
    start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start_event.record()
    function()
    end_event.record()
    torch.cuda.synchronize(device)
    return start_event.elapsed_time(end_event) / 1e3


@dataclass(frozen=True)
class Limits:
    """What a machine reaches at its best.

    Attributes:
        operations: Floating-point operations a second of a large matrix product.
        bytes: Read and written a second by a large copy.
    """

    operations: float
    bytes: float

    def seconds(self, operations: float, size: float) -> float:
        """Least time for a number of operations and for bytes to be read and written."""
        return max(operations / self.operations, size / self.bytes)


def measure_limits(dtype: torch.dtype, device: torch.device) -> Limits:
    """Time a matrix product and a copy.

    Args:
        dtype: Of the product.
        device: Where.
    """
    size = 1024 if device.type == "cpu" else 8192
    x = torch.randn(size, size, device=device).to(dtype)
    source = torch.zeros(2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    calls = {"product": lambda: x @ x, "copy": lambda: target.copy_(source)}
    times = interleaved_times(calls, 10, device)
    product, copy = times["product"].low, times["copy"].low
    return Limits(2 * size**3 / product, 2 * source.nbytes / copy)


#: Operators that attention without whole maps consists of.
_ATTENTION = ("mmseg_deepvit::streamed", "aten::_scaled_dot_product")


def attention_share(function: Callable[[], object], device: torch.device) -> float | None:
    """Share of a run's time that PyTorch's profiler sees in attention, projections left out.

    Args:
        function: What to run.
        device: Where it computes.

    Returns:
        In [0, 1]; None where attention is made of operators that others use too (whole maps).
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    clock = "cpu"
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        clock = "device"
    with torch.profiler.profile(activities=activities) as profiler:
        function()
    found = profiler.key_averages()
    inside = sum(getattr(e, f"{clock}_time_total") for e in found if e.key.startswith(_ATTENTION))
    return inside / sum(getattr(e, f"self_{clock}_time_total") for e in found) if inside else None


def peak_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a run takes above what was in use before it.

    On a GPU these are PyTorch's own counts. On Linux it is the growth of the process' resident
    memory at its highest, after free memory has been handed back to the system.

    Returns:
        Bytes, or None where the system does not tell: nothing is run then. What the function raises
        is the caller's.
    """
    gc.collect()
    release_buffers()  # else what is kept from before would not count
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
    """Bytes in use, from which on the highest is kept; None where the system does not tell."""
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
    """What figures must be read with: processor or GPU, threads, versions."""
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


def write_json(path: str, machine: dict, settings: dict, results: list[dict[str, Any]]) -> None:
    """Write what was measured.

    Raises:
        UserError: The file cannot be written.
    """
    results = [
        {k: asdict(v) if isinstance(v, Times) else v for k, v in result.items()}
        for result in results
    ]
    content = {"machine": machine, "settings": settings, "results": results}
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"--json {path} cannot be written ({error.strerror})") from error


def plot_lines(
    path: str, x_label: str, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]
) -> None:
    """Draw panels of lines side by side, all axes logarithmic.

    Args:
        path: Picture file.
        x_label: Of all panels.
        panels: By label of the y axis, lines by name, each (x, y) points.

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
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            figure.savefig(part, format=Path(path).suffix[1:] or "png", dpi=110)
    except (OSError, ValueError) as error:
        raise UserError(f"--plot {path} cannot be written ({error})") from error
