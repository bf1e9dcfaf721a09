"""Decoded images kept in memory, once for all worker processes."""

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
    """Objects by key, as bytes in memory that forked processes share.

    Filled as it is used: what one data loader's worker puts in, all of them find. A value that
    comes out is a fresh copy, so that transforms may change its arrays in place. What does not fit
    any more is not kept. Where workers are spawned instead of forked, each has a cache of its own.

    Args:
        keys: All keys there can be, each once.
        max_bytes: Most that is kept. Memory is taken as it is filled.

    Raises:
        ValueError: ``max_bytes`` is not a whole number above 0, or more than the system gives.
    """

    def __init__(self, keys: Sequence[str], max_bytes: int) -> None:
        if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 1:
            raise ValueError(f"cache_limit must be a number of bytes above 0, got {max_bytes!r}")
        self.max_bytes = max_bytes
        self._slots = {key: slot for slot, key in enumerate(keys)}
        # One row a key, and a last one whose offset is the bytes in use and whose length tells
        # whether anything was turned away.
        table = mmap.mmap(-1, 16 * (len(keys) + 1))
        self._table = np.frombuffer(table, dtype=np.int64).reshape(-1, 2)
        try:
            # Anonymous memory: /dev/shm, where named blocks live, is 64 MiB in most containers.
            self._memory = memoryview(mmap.mmap(-1, max_bytes))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"cache_limit={max_bytes} bytes cannot be had ({error}): set a smaller one"
            ) from error
        self._lock = multiprocessing.Lock()

    def get(self, key: str) -> Any:
        """A fresh copy of what was put under a key, or None."""
        with self._lock:
            offset, length = self._table[self._slots[key]].tolist()
        # What was put in once stays as it is: it can be read without the lock.
        return pickle.loads(self._memory[offset : offset + length]) if length else None

    def put(self, key: str, value: Any) -> None:
        """Keep a copy of a value, if there is room and the key has none yet."""
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
                f"cache_limit={self.max_bytes} bytes does not hold all images: the others are "
                "decoded every time",
                logger="current",
                level=logging.WARNING,
            )

    def __deepcopy__(self, memo: dict) -> SharedCache:
        """The same cache: parts of a data set share it with the whole."""
        return self

    def __reduce__(self) -> tuple:
        """Spawned workers start with an empty one."""
        return SharedCache, (tuple(self._slots), self.max_bytes)
