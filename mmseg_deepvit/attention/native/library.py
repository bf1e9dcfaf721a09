"""The compiled passes, called through ctypes: no symbol of PyTorch is linked, so one binary serves
all its versions, and Python runs on while they work.
"""

from __future__ import annotations

import ctypes
import logging
import os
from ctypes import c_double, c_int64, c_uint64, c_void_p
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

#: Numbers of the sets of instructions that the binary is compiled for, the best one first. With
#: "avx512" the binary multiplies bfloat16 as it is where the processor can.
INSTRUCTION_SETS = {"avx512": 2, "avx2": 1, "portable": 0}
DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
#: Compiled sizes: most heads, and widest head.
MOST_HEADS, MOST_WIDTH = 32, 128

_logger = logging.getLogger(__name__)


class Array(ctypes.Structure):
    """A (B, H, N, d) array; strides count elements."""

    _fields_ = [
        ("data", c_void_p),
        *((name, c_int64) for name in ("dtype", "images", "heads", "tokens", "columns")),
    ]

    @classmethod
    def of(cls, tensor: Tensor) -> Array:
        """The tensor's memory, which must outlive the array."""
        return cls(tensor.data_ptr(), DTYPES[tensor.dtype], *tensor.stride())


class Call(ctypes.Structure):
    """Arguments of a pass; ``call.h`` says what each is."""

    _fields_ = [
        *((name, c_int64) for name in ("batch", "heads", "tokens", "width")),
        *((name, Array) for name in ("q", "k", "v", "out", "grad", "grad_q", "grad_k", "grad_v")),
        *(
            (name, c_void_p)
            for name in (
                *("pre", "post", "bias", "norm_weight", "norm_map_bias", "products", "constant"),
                *("lse", "first", "second", "totals", "grad_pre", "grad_post", "grad_bias"),
                *("grad_norm_weight", "grad_norm_map_bias", "parallel"),
            )
        ),
        ("seed", c_uint64),
        *(
            (name, c_int64)
            for name in (
                *("threads", "lse_known", "centred", "drops_probabilities", "drops_mixed"),
            )
        ),
        *((name, c_double) for name in ("scale", "eps", "dropout_p")),
    ]


def _load() -> ctypes.CDLL | None:
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_passes{suffix}")
        if path.exists():
            return ctypes.CDLL(str(path))
    return None


_binary = _load()

#: Sets of instructions that both the binary and this processor have, the best one first; none
#: where the package was installed without a C++ compiler.
AVAILABLE: tuple[str, ...] = ()
if _binary is not None:
    AVAILABLE = tuple(
        name
        for name, number in INSTRUCTION_SETS.items()
        if _binary.mmseg_deepvit_supported(c_int64(number))
    )


@cache
def note_absence() -> None:
    """Log, once in a process, that there is no binary."""
    _logger.warning(
        "attention has no compiled passes here, so slower ones in PyTorch's operators serve; "
        "install a C++ compiler, then install mmseg_deepvit again"
    )


@cache
def _parallel() -> int | None:
    """Address of ``GOMP_parallel`` in the OpenMP runtime that PyTorch loaded.

    A second runtime, or threads of our own, would wait for cores on which PyTorch's threads spin.
    None where there is none by that name; threads of the standard library serve then.
    """
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, c_void_p).value
    except (AttributeError, OSError, TypeError):
        return None


_forked = False


def _note_fork() -> None:
    global _forked
    _forked = True


# OpenMP's threads do not survive a fork, and a child that calls for them waits forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def run(call: Call, number: int, instruction_set: str) -> None:
    """Make one pass.

    Args:
        call: The arguments; memory that it points to must be held by the caller.
        number: Number of the pass in ``call.h``.
        instruction_set: One of :data:`AVAILABLE`.

    Raises:
        MemoryError: There is no memory for a block of rows.
    """
    call.threads = torch.get_num_threads()
    call.parallel = None if _forked else _parallel()
    assert _binary is not None
    if _binary.mmseg_deepvit_run(
        ctypes.byref(call), c_int64(number), c_int64(INSTRUCTION_SETS[instruction_set])
    ):
        raise MemoryError("no memory for a block of attention maps; use smaller images or batches")
