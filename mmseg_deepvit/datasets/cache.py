"""A cache of decoded images in memory that all worker processes share."""

from __future__ import annotations

import logging
import mmap
import multiprocessing
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log

_OFFSET, _LENGTH = 0, 1


class SharedCache:
    """Objects by key, pickled into memory that forked processes share.

    All workers of a data loader find a value that one of them has put in. :meth:`get` returns a
    fresh copy, so transforms may change its arrays in place. A value that does not fit is not kept.
    Spawned workers share nothing: each starts with an empty cache.

    Args:
        keys: All possible keys, each once.
        max_bytes: Limit of the kept bytes. The system gives memory only as the cache fills.

    Raises:
        ValueError: ``max_bytes`` is not an integer above 0, or the system has less memory.
    """

    def __init__(self, keys: Sequence[str], max_bytes: int) -> None:
        if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 1:
            raise ValueError(f"cache_limit must be a number of bytes above 0, got {max_bytes!r}")
        self.max_bytes = max_bytes
        self._slots = {key: slot for slot, key in enumerate(keys)}
        # A row for each key. The last row holds the bytes in use, and 1 once a value did not fit.
        table = mmap.mmap(-1, 16 * (len(keys) + 1))
        self._table = np.frombuffer(table, dtype=np.int64).reshape(-1, 2)
        try:
            # Anonymous memory: /dev/shm, where named blocks live, is 64 MiB in most containers.
            self._memory = memoryview(mmap.mmap(-1, max_bytes))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"the system has no {max_bytes} bytes for cache_limit ({error}); set a smaller one"
            ) from error
        self._lock = multiprocessing.Lock()

    def get(self, key: str) -> Any:
        """Return a fresh copy of the value under a key, or None."""
        with self._lock:
            offset, length = self._table[self._slots[key]].tolist()
        # A stored value never changes, so reading it needs no lock.
        return pickle.loads(self._memory[offset : offset + length]) if length else None

    def put(self, key: str, value: Any) -> None:
        """Keep a copy of a value if there is room and the key has none yet."""
        data = pickle.dumps(value, protocol=5)
        slot = self._slots[key]
        with self._lock:
            used, was_full = self._table[-1].tolist()
            if self._table[slot, _LENGTH]:
                return
            fits = used + len(data) <= self.max_bytes
            if fits:
                self._memory[used : used + len(data)] = data
                self._table[slot] = used, len(data)
                self._table[-1, _OFFSET] = used + len(data)
            else:
                self._table[-1, _LENGTH] = 1
        if not fits and not was_full:
            print_log(
                f"cache_limit={self.max_bytes} bytes does not hold all images; the others are "
                "decoded every time",
                logger="current",
                level=logging.WARNING,
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedCache:
        """Return itself: a data set shares its cache with its subsets."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle an empty cache, for spawned workers."""
        return SharedCache, (tuple(self._slots), self.max_bytes)
