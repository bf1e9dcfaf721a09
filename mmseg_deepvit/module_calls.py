"""Observe inputs and results of a model's submodules while it runs; the model does not change."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

from torch import nn

_Key = TypeVar("_Key", bound=Hashable)


class Call(NamedTuple):
    """One call of a module.

    Attributes:
        module: Module that was called.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        output: Result of the call.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


@contextmanager
def watch_calls(
    modules: Mapping[_Key, nn.Module], see: Callable[[_Key, Call], None]
) -> Iterator[None]:
    """Call a function after each call of some modules while the context lasts.

    Activation checkpointing runs a block a second time in the backward pass. That call is not
    observed where the backward pass comes after the context.

    Args:
        modules: Modules to observe, by any key.
        see: Function of a module's key and its call. It must not change the output.
    """

    def show(key: _Key, *call: Any) -> None:
        see(key, Call(*call))

    with ExitStack() as stack:
        for key, module in modules.items():
            stack.enter_context(module.register_forward_hook(partial(show, key), with_kwargs=True))
        yield


@contextmanager
def catch_results(modules: Mapping[_Key, nn.Module]) -> Iterator[dict[_Key, Any]]:
    """Keep the results of some modules while the context lasts.

    Args:
        modules: Modules to observe, by any key.

    Yields:
        The latest result of each module that has run, by its key, in the order of running.
    """
    caught: dict[_Key, Any] = {}

    def keep(key: _Key, call: Call) -> None:
        caught[key] = call.output

    with watch_calls(modules, keep):
        yield caught


@contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode; each submodule gets its former mode back at the end."""
    modes = {submodule: submodule.training for submodule in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for submodule, mode in modes.items():
            submodule.training = mode
