"""Find numbers that are not finite, in nested tensors and in the layers of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...module_calls import Call, watch_calls


def is_finite(values: Tensor) -> bool:
    """Whether a tensor of any shape and type holds neither NaN nor Inf."""
    if not values.is_floating_point() or values.numel() == 0:
        return True
    # aminmax needs no mask as large as the tensor, and returns NaN where there is one.
    low, high = torch.aminmax(values.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))


def find_not_finite(content: Any, name: str = "") -> str | None:
    """Name the first tensor with NaN or Inf in nested dicts, lists and tuples.

    Args:
        content: Tensor or container; anything else counts as finite.
        name: Name of the content.

    Returns:
        Name of the tensor, keys joined by dots, or None.
    """
    if isinstance(content, Tensor):
        return None if is_finite(content) else name
    parts: Any = ()
    if isinstance(content, Mapping):
        parts = content.items()
    elif isinstance(content, (list, tuple)):
        parts = enumerate(content)
    for key, value in parts:
        found = find_not_finite(value, f"{name}.{key}" if name else str(key))
        if found is not None:
            return found
    return None


def find_layer(model: nn.Module, run: Callable[[], Any]) -> str | None:
    """Name the first submodule, and of nested ones the innermost, whose output has NaN or Inf.

    Args:
        model: Model to watch.
        run: Function that runs the model.

    Returns:
        Name and class of the submodule, or None if all outputs are finite.
    """
    found: list[str] = []

    def look(name: str, call: Call) -> None:
        if not found and find_not_finite(call.output, "output") is not None:
            found.append(f"{name} ({type(call.module).__name__})")

    with watch_calls({name: module for name, module in model.named_modules() if name}, look):
        run()
    return found[0] if found else None
