"""Time one layer of head-mixing attention: tools/benchmark_attention.py [--tokens 197 1025 …].

For each number of tokens and each way to compute it, in turn in one process: inference, and
forward and backward in training; peak memory above the inputs; the largest relative error of
output and gradients against the explicit form in float64. 'sdpa' is PyTorch's attention without
any mixing, 'floor' the least time that the shapes allow: the operations and the bytes of an exact
algorithm that keeps no maps, at the speeds that this machine reaches in a large matrix product of
the same dtype and in a large copy. A second table has the passes that 'blockwise' is made of.
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
    from mmseg_deepvit.command_line.benchmark import (
        Limits,
        Times,
        describe_machine,
        interleaved_times,
        measure_limits,
        peak_memory,
        plot_lines,
        relative_error,
        write_json,
    )
    from mmseg_deepvit.tables import markdown_table, megabytes

#: PyTorch's names of them.
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
NORMS: dict[str, Callable[[int], nn.Module | None]] = {
    "bn": lambda heads: nn.BatchNorm2d(heads),
    "ln": lambda heads: nn.LayerNorm(heads),
    "none": lambda heads: None,
}
#: Maps that 'explicit' keeps for backward, and those of float64: bytes are this times one map.
EXPLICIT_MAPS, EXACT_MAPS = 6, 14


class Layer:
    """Inputs of one attention call, and the call."""

    def __init__(self, args: argparse.Namespace, tokens: int) -> None:
        torch.manual_seed(0)
        heads, device = args.heads, args.device
        shape = (args.batch_size, tokens, 3, heads, args.head_dims)
        self.qkv = (
            torch.randn(shape, device=device)
            .to(getattr(torch, DTYPES[args.dtype]))
            .requires_grad_()
        )
        self.grad = torch.randn(shape[0], heads, tokens, args.head_dims, device=device)
        self.mixes: dict[str, Any] = {}
        for name in ("pre", "post"):
            if name in mixes_of(args):
                weight = torch.randn(heads, heads, device=device) / heads**0.5
                self.mixes[f"{name}_weight"] = weight.requires_grad_()
                self.mixes[f"{name}_bias"] = torch.zeros(heads, device=device).requires_grad_()
        norm = NORMS[args.norm](heads) if args.mix != "pre" else None
        self.norm = None if norm is None else norm.to(device)
        self.scale = args.head_dims**-0.5

    def parameters(self) -> list[Tensor]:
        """All that has a gradient."""
        norm = [] if self.norm is None else list(self.norm.parameters())
        return [self.qkv, *self.mixes.values(), *norm]

    def output(self, backend: Any) -> Tensor:
        """(B, H, N, d)."""
        q, k, v = self.qkv.permute(2, 0, 3, 1, 4)
        if backend == "sdpa":
            return F.scaled_dot_product_attention(q, k, v)
        return head_mixing_attention(
            q, k, v, scale=self.scale, **self.mixes, map_norm=self.norm, backend=backend
        )

    def infer(self, backend: str) -> Tensor:
        """Output in eval mode, without gradients."""
        self._train(False)
        with torch.no_grad():
            return self.output(backend)

    def forward(self, backend: str) -> Tensor:
        """Output in training mode, ready for backward."""
        self._train(True)
        return self.output(backend)

    def train(self, backend: str) -> list[Tensor | None]:
        """Output and gradients in training mode."""
        out = self.forward(backend)
        grads = torch.autograd.grad(
            out, self.parameters(), self.grad.to(out.dtype), allow_unused=True
        )
        return [out.detach(), *grads]

    def exact(self) -> list[Tensor | None]:
        """Output and gradients of the explicit form in float64."""
        kept = self.qkv, self.mixes, self.norm
        self.qkv = self.qkv.detach().double().requires_grad_()
        self.mixes = {k: t.detach().double().requires_grad_() for k, t in self.mixes.items()}
        self.norm = copy.deepcopy(self.norm)
        if self.norm is not None:
            self.norm.to(self.qkv)
        try:
            return self.train("explicit")
        finally:
            self.qkv, self.mixes, self.norm = kept

    def _train(self, mode: bool) -> None:
        if self.norm is not None:
            self.norm.train(mode)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("--tokens", nargs="+", type=int, default=[197, 1025, 2305])
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--head-dims", type=int, default=32, help="width of a head (32)")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--mix", choices=["pre", "post", "both"], default="post")
    parser.add_argument("--norm", choices=list(NORMS), default="bn", help="of the mixed maps (bn)")
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32", help="of q, k and v")
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=["fused", "blockwise", "explicit", "sdpa"],
        help="(all; fused on a GPU only)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each (5)")
    parser.add_argument(
        "--max-gb", type=float, default=12.0, help="skip explicit and errors beyond (12 GB)"
    )
    cli.add_device_option(parser)
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--plot", metavar="FILE", help="draw time and memory against tokens")
    args = parser.parse_args()
    for name in ("heads", "head_dims", "batch_size", "rounds"):
        if getattr(args, name) < 1:
            parser.error(
                f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}"
            )
    if min(args.tokens) < 2:
        parser.error(f"--tokens must be at least 2, got {min(args.tokens)}")
    if not args.max_gb > 0:
        parser.error(f"--max-gb must be above 0, got {args.max_gb}")
    for option, path in (("--json", args.json), ("--plot", args.plot)):
        if path is not None:
            cli.check_out(path, option, is_folder=False)
    args.device = torch.device(cli.pick_device(args.device))
    if args.backends is None:
        fused = ["fused"] if args.device.type == "cuda" else []
        args.backends = [*fused, "blockwise", "explicit", "sdpa"]
    return args


def map_gigabytes(args: argparse.Namespace, tokens: int, maps: int) -> float:
    """Memory of a number of fp32 maps."""
    return maps * 4e-9 * args.batch_size * args.heads * tokens**2


def floor(args: argparse.Namespace, tokens: int, limits: Limits) -> dict:
    """The entry of an algorithm that loses no time: what it must calculate, read and write.

    Training has the maps once more for batch statistics, and once more in the backward pass.
    """
    entries = 2 * args.batch_size * args.heads * tokens**2
    product, mixes = entries * args.head_dims, len(mixes_of(args))
    mix = entries * args.heads
    statistics = mix if args.norm == "bn" and args.mix != "pre" else 0
    size = (
        args.batch_size
        * args.heads
        * tokens
        * args.head_dims
        * getattr(torch, DTYPES[args.dtype]).itemsize
    )
    forward = 2 * product + mixes * mix
    train_forward = forward + statistics
    # S again, dP, dV, dQ, dK; each mix again, its transpose, its own gradient.
    train = train_forward + 5 * product + 3 * mixes * mix
    result: dict = {"tokens": tokens, "backend": "floor"}
    for name, operations, moved in (
        ("eval", forward, 4 * size),
        ("forward", train_forward, 4 * size),
        ("train", train, 12 * size),
    ):
        result[f"{name}_seconds"] = Times.of([limits.seconds(operations, moved)])
    return result


def mixes_of(args: argparse.Namespace) -> set[str]:
    """Names of the mixes there are."""
    return {"pre", "post"} if args.mix == "both" else {args.mix}


def measure(args: argparse.Namespace, tokens: int) -> list[dict]:
    """One entry for each way to compute a layer."""
    layer = Layer(args, tokens)
    fits = map_gigabytes(args, tokens, EXPLICIT_MAPS) <= args.max_gb
    backends = [b for b in args.backends if b != "explicit" or fits]
    columns = {"eval": layer.infer, "forward": layer.forward, "train": layer.train}
    results: list[dict] = [{"tokens": tokens, "backend": b} for b in backends]
    for column, call in columns.items():
        calls = {b: partial(call, b) for b in backends}
        times = interleaved_times(calls, args.rounds)
        for result in results:
            result[f"{column}_seconds"] = times[result["backend"]]
    for result in results:
        for column in ("eval", "train"):
            call = partial(columns[column], result["backend"])
            result[f"{column}_bytes"] = peak_memory(call, args.device)
    if map_gigabytes(args, tokens, EXACT_MAPS) <= args.max_gb:
        exact = layer.exact()
        for result in results:
            if result["backend"] != "sdpa":
                result["errors"] = errors(layer, layer.train(result["backend"]), exact)
    return results


def errors(layer: Layer, found: list, exact: list) -> dict[str, float]:
    """Largest relative errors of the output and of the gradients.

    A bias that a softmax or batch statistics cancel has gradient zero and is left out.
    """
    names = ["output", "qkv", *layer.mixes, "norm weight", "norm bias"]
    return {
        name: relative_error(x, y)
        for name, x, y in zip(names, found, exact, strict=False)
        if name not in ("pre_bias", "post_bias")
    }


def print_tables(args: argparse.Namespace, results: list[dict], passes: list[dict]) -> None:
    """Both tables, times in milliseconds with quartiles."""
    rows = []
    for result in results:
        found = result.get("errors", {})
        gradients = [e for name, e in found.items() if name != "output"]
        rows.append(
            [
                result["tokens"],
                result["backend"],
                *(result[f"{c}_seconds"] for c in ("eval", "forward", "train")),
                *(
                    "" if result["backend"] == "floor" else megabytes(result[f"{c}_bytes"])
                    for c in ("eval", "train")
                ),
                f"{found['output']:.1e}" if found else "",
                f"{max(gradients):.1e}" if gradients else "",
            ]
        )
    header = ["N", "backend", "eval, ms", "train forward, ms", "train forward + backward, ms"]
    header += ["eval, MB", "train, MB", "output error", "gradient error"]
    print(markdown_table(header, rows))
    if passes:
        names = [name for name in passes[0] if name not in ("tokens", "block_rows")]
        rows = [[p["tokens"], p["block_rows"], *(p[name] for name in names)] for p in passes]
        print("\nPasses of blockwise, ms:\n")
        print(markdown_table(["N", "rows of a block", *names], rows))


def measure_passes(args: argparse.Namespace, tokens: int) -> dict:
    """What each pass of the blockwise form costs by itself, for a post mix."""
    layer = Layer(args, tokens)
    q, k, v = layer.qkv.detach().permute(2, 0, 3, 1, 4)
    calls = passes_of(q, k, v, layer.scale, layer.mixes["post_weight"].detach(), layer.grad)
    times = interleaved_times(calls, args.rounds)
    return {"tokens": tokens, "block_rows": default_block_rows(q), **times}


def plot(path: str, results: list[dict]) -> None:
    """Time and memory of training against tokens, both axes logarithmic."""
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {"time": {}, "memory": {}}
    for result in results:
        name, tokens = result["backend"], result["tokens"]
        seconds, size = result["train_seconds"].median, result.get("train_bytes")
        lines["time"].setdefault(name, []).append((tokens, seconds))
        if size:
            lines["memory"].setdefault(name, []).append((tokens, size / 1e6))
    titles = {"time": "forward + backward, s", "memory": "peak memory, MB"}
    plot_lines(path, "tokens N", {titles[k]: v for k, v in lines.items()})


def main() -> None:
    """Measure and print."""
    args = parse_args()
    machine = describe_machine(args.device)
    print(", ".join(f"{k} {v}" for k, v in machine.items()), flush=True)
    limits = measure_limits(getattr(torch, DTYPES[args.dtype]), args.device)
    print(
        f"reaches {limits.operations / 1e12:.3g} TFLOP/s in {args.dtype}, "
        f"{limits.bytes / 1e9:.3g} GB/s",
        flush=True,
    )
    results, passes = [], []
    for tokens in args.tokens:
        results += [*measure(args, tokens), floor(args, tokens, limits)]
        if "blockwise" in args.backends and args.mix == "post":
            passes.append(measure_passes(args, tokens))
    print_tables(args, results, passes)
    settings = {k: v for k, v in vars(args).items() if k not in ("device", "json", "plot")}
    if args.json:
        write_json(args.json, machine, settings, [*results, *passes])
    if args.plot:
        plot(args.plot, results)


if __name__ == "__main__":
    cli.run(main)
