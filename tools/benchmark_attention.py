"""Time one layer of head-mixing attention: tools/benchmark_attention.py [--tokens 197 1025 …].

Each backend is timed in turn in one process, for each number of tokens: inference, forward in
training, forward and backward. The table also has the peak memory above the inputs, and the largest
relative errors of output and gradients against the explicit form in float64. 'sdpa' is PyTorch's
attention without mixing. 'floor' is the least time that the shapes allow: operations and bytes of
an exact algorithm that keeps no maps, at the speeds that this machine reaches in a large matrix
product of the same dtype and in a large copy. A second table has the passes of 'blockwise'.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from mmseg_deepvit import command_line as cli

if not cli.only_help():
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    from mmseg_deepvit.attention import head_mixing_attention
    from mmseg_deepvit.attention.blockwise import default_block_rows
    from mmseg_deepvit.attention.blockwise import passes as passes_of
    from mmseg_deepvit.attention.native import library
    from mmseg_deepvit.command_line import benchmark
    from mmseg_deepvit.command_line.benchmark import Figures
    from mmseg_deepvit.tables import markdown_table, megabytes

#: PyTorch's names of the dtypes.
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
NORMS: dict[str, Callable[[int], nn.Module | None]] = {
    "bn": lambda heads: nn.BatchNorm2d(heads),
    "ln": lambda heads: nn.LayerNorm(heads),
    "none": lambda heads: None,
}
MIXES = {"pre": ["pre"], "post": ["post"], "both": ["pre", "post"]}
#: Number of maps in memory: those that 'explicit' keeps for backward, and float64's.
EXPLICIT_MAPS, EXACT_MAPS = 6, 14


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("--tokens", nargs="+", type=int, default=[197, 1025, 2305])
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--head-dims", type=int, default=32, help="width of a head (32)")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--mix", choices=list(MIXES), default="post")
    parser.add_argument("--norm", choices=list(NORMS), default="bn", help="of the mixed maps (bn)")
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32", help="of q, k and v")
    backends = ["fused", "native", "blockwise", "explicit", "sdpa"]
    which = "(all that run on the device)"
    parser.add_argument("--backends", nargs="+", choices=backends, help=which)
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each (5)")
    limit = "memory beyond which explicit and errors are left out (12 GB)"
    parser.add_argument("--max-gb", type=float, default=12.0, help=limit)
    cli.add_device_option(parser)
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--plot", metavar="FILE", help="draw time and memory against tokens")
    args = parser.parse_args()
    cli.check_at_least(parser, args, 1, "heads", "head_dims", "batch_size", "rounds")
    cli.check_at_least(parser, args, 2, "tokens")
    if not args.max_gb > 0:
        parser.error(f"--max-gb must be above 0, got {args.max_gb}")
    for option, path in (("--json", args.json), ("--plot", args.plot)):
        if path is not None:
            cli.check_out(path, option, is_folder=False)
    args.device = torch.device(cli.pick_device(args.device))
    if args.backends is None:
        other = "native" if args.device.type == "cuda" else "fused"
        missing = set() if library.AVAILABLE else {"native"}
        args.backends = [name for name in backends if name not in {other, *missing}]
    return args


def make_layer(args: argparse.Namespace, tokens: int) -> nn.Module:
    """A layer with inputs of the sizes that the options ask for."""

    class Layer(nn.Module):
        """Inputs of one attention call as parameters, and the call."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            batch, heads, width = args.batch_size, args.heads, args.head_dims
            qkv = torch.randn(batch, tokens, 3, heads, width)
            self.qkv = nn.Parameter(qkv.to(getattr(torch, DTYPES[args.dtype])))
            self.mixes = nn.ParameterDict()
            for name in MIXES[args.mix]:
                self.mixes[f"{name}_weight"] = torch.randn(heads, heads) / heads**0.5
                self.mixes[f"{name}_bias"] = torch.zeros(heads)
            self.norm = None if args.mix == "pre" else NORMS[args.norm](heads)
            self.register_buffer("grad", torch.randn(batch, heads, tokens, width))

        def forward(self, backend: Any) -> Tensor:
            """Output (B, H, N, d)."""
            q, k, v = self.qkv.permute(2, 0, 3, 1, 4)
            if backend == "sdpa":
                return F.scaled_dot_product_attention(q, k, v)
            how = dict(scale=args.head_dims**-0.5, map_norm=self.norm, backend=backend)
            return head_mixing_attention(q, k, v, **how, **dict(self.mixes.items()))

    return Layer().to(args.device)


def infer(layer: nn.Module, backend: str) -> None:
    """Compute the output in evaluation mode, without gradients."""
    with torch.no_grad():
        layer.eval()(backend)


def forward(layer: nn.Module, backend: str) -> Tensor:
    """Output in training mode, ready for backward."""
    out: Tensor = layer.train()(backend)
    return out


def train(layer: Any, backend: str) -> dict[str, Tensor | None]:
    """Output and gradients in training mode, by name."""
    out, parameters = forward(layer, backend), dict(layer.named_parameters())
    grad = layer.grad.to(out.dtype)
    found = torch.autograd.grad(out, [*parameters.values()], grad, allow_unused=True)
    return {"output": out.detach(), **dict(zip(parameters, found, strict=True))}


COLUMNS = {"eval": infer, "forward": forward, "train": train}


def measure(args: argparse.Namespace, tokens: int) -> list[Figures]:
    """Figures of each backend."""
    layer = make_layer(args, tokens)
    one_map = 4e-9 * args.batch_size * args.heads * tokens**2  # GB
    fits = EXPLICIT_MAPS * one_map <= args.max_gb
    backends = [b for b in args.backends if b != "explicit" or fits]
    results: list[Figures] = [{"tokens": tokens, "backend": b} for b in backends]
    for column, call in COLUMNS.items():
        calls = {b: partial(call, layer, b) for b in backends}
        times = benchmark.interleaved_times(calls, args.rounds)
        for result in results:
            result[f"{column}_seconds"] = times[result["backend"]]
            if column != "forward":
                call_again = calls[result["backend"]]
                result[f"{column}_bytes"] = benchmark.peak_memory(call_again, args.device)
    if EXACT_MAPS * one_map <= args.max_gb:
        exact = train(copy.deepcopy(layer).double(), "explicit")
        for result in results:
            if result["backend"] != "sdpa":
                result["errors"] = errors(train(layer, result["backend"]), exact)
    return results


def errors(found: dict[str, Tensor | None], exact: dict[str, Tensor | None]) -> dict[str, float]:
    """Largest relative errors of the output and of the gradients.

    A mix's bias may cancel in softmax or batch statistics; its gradient is zero and is left out.
    """
    pairs = {name: (x, exact[name]) for name, x in found.items() if not name.endswith("_bias")}
    return {
        name: benchmark.relative_error(x, y)
        for name, (x, y) in pairs.items()
        if x is not None and y is not None
    }


def floor(args: argparse.Namespace, tokens: int, limits: benchmark.Limits) -> Figures:
    """Least times of the shapes: operations, and bytes read and written, at the machine's speeds.

    Training computes the maps again for batch statistics, and again in the backward pass.
    """
    entries = 2 * args.batch_size * args.heads * tokens**2
    product, mix, mixes = entries * args.head_dims, entries * args.heads, len(MIXES[args.mix])
    statistics = mix if args.norm == "bn" and args.mix != "pre" else 0
    width = getattr(torch, DTYPES[args.dtype]).itemsize
    size = args.batch_size * args.heads * tokens * args.head_dims * width
    at_test = 2 * product + mixes * mix
    ahead = at_test + statistics
    # S again, dP, dV, dQ, dK; each mix again, its transpose, its gradient.
    both = ahead + 5 * product + 3 * mixes * mix
    moved = {"eval": (at_test, 4 * size), "forward": (ahead, 4 * size), "train": (both, 12 * size)}
    times = {f"{n}_seconds": benchmark.Times.of([limits.seconds(*w)]) for n, w in moved.items()}
    return {"tokens": tokens, "backend": "floor", **times}


def measure_passes(args: argparse.Namespace, tokens: int) -> Figures:
    """Times of each pass of the blockwise form, for a post mix."""
    layer: Any = make_layer(args, tokens)
    q, k, v = layer.qkv.detach().permute(2, 0, 3, 1, 4)
    weight = layer.mixes["post_weight"].detach()
    calls = passes_of(q, k, v, args.head_dims**-0.5, weight, layer.grad)
    times = benchmark.interleaved_times(calls, args.rounds)
    return {"tokens": tokens, "block_rows": default_block_rows(q), **times}


def print_tables(results: list[Figures], passes: list[Figures]) -> None:
    """Print both tables, times in milliseconds with quartiles."""
    rows = []
    for result in results:
        found = dict(result.get("errors", {}))
        worst = [found.pop("output", None), max(found.values(), default=None)]
        row = [result["tokens"], result["backend"], *(result[f"{c}_seconds"] for c in COLUMNS)]
        memory = [result.get(f"{c}_bytes", 0) for c in ("eval", "train")]
        row += ["" if result["backend"] == "floor" else megabytes(size) for size in memory]
        rows.append([*row, *("" if error is None else f"{error:.1e}" for error in worst)])
    header = ["N", "backend", "eval, ms", "train forward, ms", "train forward + backward, ms"]
    header += ["eval, MB", "train, MB", "output error", "gradient error"]
    print(markdown_table(header, rows))
    if passes:
        header = ["N", "rows of a block", *list(passes[0])[2:]]
        print("\nPasses of blockwise, ms:\n")
        print(markdown_table(header, [list(one.values()) for one in passes]))


def plot(path: str, results: list[Figures]) -> None:
    """Draw time and memory of training against tokens, both axes logarithmic."""
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for result in results:
        name, tokens = result["backend"], result["tokens"]
        panels = {
            "forward + backward, s": result["train_seconds"].median,
            "peak memory, MB": (result.get("train_bytes") or 0) / 1e6,
        }
        for label, value in panels.items():
            if value:
                lines.setdefault(label, {}).setdefault(name, []).append((tokens, value))
    benchmark.plot_lines(path, "tokens N", lines)


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    machine = benchmark.describe_machine(args.device)
    print(", ".join(f"{k} {v}" for k, v in machine.items()), flush=True)
    limits = benchmark.measure_limits(getattr(torch, DTYPES[args.dtype]), args.device)
    speeds = (
        f"{limits.operations / 1e12:.3g} TFLOP/s in {args.dtype}, {limits.bytes / 1e9:.3g} GB/s"
    )
    print(f"reaches {speeds}", flush=True)
    results, passes = [], []
    for tokens in args.tokens:
        results += [*measure(args, tokens), floor(args, tokens, limits)]
        if "blockwise" in args.backends and args.mix == "post":
            passes.append(measure_passes(args, tokens))
    print_tables(results, passes)
    settings = {k: v for k, v in vars(args).items() if k not in ("device", "json", "plot")}
    if args.json:
        benchmark.write_json(args.json, machine, settings, [*results, *passes])
    if args.plot:
        plot(args.plot, results)


if __name__ == "__main__":
    cli.run(main)
