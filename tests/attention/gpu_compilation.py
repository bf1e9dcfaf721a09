"""Compile the Triton kernels for a GPU, also on machines without one.

python -m tests.attention.gpu_compilation [--capability 90] [--heads 12] [--width 32] …

prints a line of JSON for each program and tiling: registers and spilled bytes of a thread, and the
shared memory of a program. Tests run it as a subprocess, because their process has Triton's
interpreter.
"""

import argparse
import json
import re
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmseg_deepvit.attention.fused import kernels, launch
from mmseg_deepvit.attention.fused.tiles import Maps, Mixes, Tokens
from mmseg_deepvit.attention.streaming.pass_settings import LayerNormOverHeads, PassSettings

TYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def arguments(dtype):
    """Return the types of each program's arguments, in order."""
    half, full = f"*{TYPES[dtype]}", "*fp32"
    inputs, shift = Tokens(half, "i32", "i32", "i32"), Tokens(full, "i32", "i32", "i32")
    maps = Maps(inputs, inputs, full, full, "fp32", "i32")
    mixes = Mixes(full, full, full, full, "fp32")
    return {
        kernels.row_sums: (maps,),
        kernels.moments: (maps, full),
        kernels.outputs: (maps, mixes, inputs, shift, inputs),
        kernels.row_gradients: (maps, mixes, inputs, inputs, full, full, full, full),
        kernels.query_gradients: (maps, mixes, inputs, inputs, full, inputs, full),
        kernels.key_gradients: (maps, mixes, inputs, inputs, full, shift, inputs, inputs),
    }


def make_settings(args):
    weight, ones = torch.eye(args.heads), torch.ones(args.heads)
    norm = LayerNormOverHeads(ones, None, 1e-5) if args.norm == "layer" else None
    return PassSettings(
        1.0, weight if args.pre else None, weight, None, norm, None, args.norm == "batch"
    )


def compile_one(kernel, types, plan, tiling, capability):
    started = time.perf_counter()
    names = kernel.arg_names
    source = ASTSource(
        kernel,
        dict(zip(names, (*types, "constexpr"), strict=True)),
        {(len(names) - 1,): replace(plan, R=tiling.rows, C=tiling.columns)},
    )
    options = {"num_warps": tiling.warps, "num_stages": tiling.stages}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return {
        "kernel": kernel.__name__,
        "tiling": [tiling.rows, tiling.columns, tiling.warps, tiling.stages],
        "shared": made.metadata.shared,
        **resources(made.asm["cubin"]),
        "seconds": round(time.perf_counter() - started, 1),
    }


def resources(binary):
    """Read the registers and spilled bytes of a thread."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [tool, "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", text))
    return {"registers": int(found["REG"]), "spilled": int(found["STACK"]) + int(found["LOCAL"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capability", type=int, default=90)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--dtype", choices=TYPES.values(), default="bf16")
    parser.add_argument("--norm", choices=["none", "batch", "layer"], default="batch")
    parser.add_argument("--pre", action="store_true")
    parser.add_argument("--kernels", nargs="+")
    parser.add_argument("--tilings", nargs="+", help="as 16,32,8,2; default: those in use")
    args = parser.parse_args()
    dtype = {name: dtype for dtype, name in TYPES.items()}[args.dtype]
    q = torch.empty(1, args.heads, 64, args.width, dtype=dtype, device="meta")
    plan = launch.make_plan(q, make_settings(args), args.norm == "batch")
    for kernel, types in arguments(dtype).items():
        if args.kernels and kernel.__name__ not in args.kernels:
            continue
        tilings = launch.tilings_of(kernel)
        if args.tilings:
            tilings = [launch.Tiling(*map(int, t.split(","))) for t in args.tilings]
        for tiling in tilings:
            print(json.dumps(compile_one(kernel, types, plan, tiling, args.capability)), flush=True)


if __name__ == "__main__":
    main()
