"""Work that one process does for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from mmengine.dist import broadcast_object_list, get_rank

from ..errors import UserError

_T = TypeVar("_T")


def from_first_process(function: Callable[[], _T]) -> _T:
    """Call a function in process 0; all processes return its result or raise its UserError.

    Processes that looked at files by themselves might see them at different moments.
    """
    answer: list[_T | UserError | None] = [None]
    if get_rank() == 0:
        try:
            answer = [function()]
        except UserError as error:
            answer = [error]
    broadcast_object_list(answer)
    if isinstance(answer[0], UserError):
        raise answer[0]
    return cast(_T, answer[0])
