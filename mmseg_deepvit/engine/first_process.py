"""Work that one process does and all have the result of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.dist import broadcast_object_list, get_rank

from ..errors import UserError

_T = TypeVar("_T")


def from_first_process(function: Callable[[], _T]) -> _T:
    """Call a function in one process and have its result, or its :class:`UserError`, in all.

    Args:
        function: Looks at files, say, which processes might see at different moments.

    Returns:
        What it returned in process 0.
    """
    answer: list[Any] = [None, None]
    if get_rank() == 0:
        try:
            answer[0] = function()
        except UserError as error:
            answer[1] = error
    broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]
