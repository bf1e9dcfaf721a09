"""Watch the calls of a model's submodules while it runs; the model is left unchanged."""

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
        output: Value that the module returned.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


@contextmanager
def watch_calls(
    modules: Mapping[_Key, nn.Module], see: Callable[[_Key, Call], None]
) -> Iterator[None]:
    """Show each call of some modules to a function while the context lasts.

    Activation checkpointing runs blocks again in backward. Those calls are not shown if backward
    comes after the context.

    Args:
        modules: Modules to watch, by any key.
        see: Function of a module's key and its call, run when the call returns. It must not change
            the output.
    """

    def show(key: _Key, *call: Any) -> None:
        see(key, Call(*call))

    with ExitStack() as stack:
        for key, module in modules.items():
            stack.enter_context(module.register_forward_hook(partial(show, key), with_kwargs=True))
        yield


@contextmanager
def catch_results(modules: Mapping[_Key, nn.Module]) -> Iterator[dict[_Key, Any]]:
    """Catch the results of some modules while the context lasts.

    Args:
        modules: Modules to watch, by any key.

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
    """Put a module into evaluation mode; afterwards each submodule returns to its earlier mode."""
    modes = {submodule: submodule.training for submodule in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for submodule, mode in modes.items():
            submodule.training = mode
