"""Mean, deviation and range of the bands of many images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

#: Share of an image's values that its range leaves out on each side.
_OUTSIDE = 0.001
_MOST_VALUES = 2**18  # values of a band whose percentiles are computed


@dataclass
class BandStatistics:
    """Statistics of images with equal numbers of bands.

    Images with another number of bands are counted as RGB, as loading makes them: grey is repeated,
    and transparency is dropped.
    """

    count: int = 0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(0))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(0))
    low: np.ndarray = field(default_factory=lambda: np.zeros(0))
    high: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def add(self, image: np.ndarray) -> None:
        """Add an image, (H, W, C), of any type."""
        values = image.reshape(-1, image.shape[2]).astype(np.float64)
        if self.count and values.shape[1] != len(self.sums):
            values = _as_rgb(values)
            if len(self.sums) != 3:
                self._become_rgb()
        step = max(1, len(values) // _MOST_VALUES)
        low, high = np.quantile(values[::step], (_OUTSIDE, 1 - _OUTSIDE), axis=0)
        if not self.count:
            self.sums, self.squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
            self.low, self.high = low, high
        self.count += len(values)
        self.sums = self.sums + values.sum(axis=0)
        self.squares = self.squares + (values**2).sum(axis=0)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    @property
    def mean(self) -> np.ndarray:
        """Mean of each band."""
        return self.sums / self.count

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each band over all pixels."""
        variance = self.squares / self.count - self.mean**2
        deviation: np.ndarray = np.sqrt(np.maximum(variance, 0))
        return deviation

    def _become_rgb(self) -> None:
        for name in ("sums", "squares", "low", "high"):
            setattr(self, name, _as_rgb(getattr(self, name)[None])[0])


def _as_rgb(values: np.ndarray) -> np.ndarray:
    return values[:, :3] if values.shape[1] >= 3 else np.repeat(values[:, :1], 3, axis=1)
