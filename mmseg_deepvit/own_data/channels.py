"""The channels that a model gets: which bands, in which range, with which mean and deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UserError
from .start import Start
from .survey import Survey

_BANDS_OF_RGB = 3


def choose_bands(
    survey: Survey, bands: Sequence[int] | None, has_weights: bool
) -> tuple[dict[str, Any] | None, int]:
    """Choose how images are loaded.

    Args:
        survey: Types and ranges of the images.
        bands: Bands that are asked for; None chooses all, or three with weights.
        has_weights: Whether the model begins at weights, which take three channels.

    Returns:
        Arguments of ``LoadBands``, or None for ``LoadImageFromFile``; and the number of channels.

    Raises:
        UserError: The images lack a band, or it is not clear which three the weights get.
    """
    statistics = survey.bands
    there = len(statistics.mean)
    if bands and not 0 <= min(bands) <= max(bands) < there:
        raise UserError(f"--bands {' '.join(map(str, bands))}: images have bands 0 to {there - 1}")
    is_grey = all(count == 1 for _, count in survey.types)
    if survey.is_common and not bands and (has_weights or not is_grey):
        return None, _BANDS_OF_RGB
    chosen = list(bands or range(there))
    if has_weights and not bands:
        if there == 1:
            chosen = [0, 0, 0]
        elif there == 4 and survey.is_common:
            chosen = [0, 1, 2]
    if has_weights and len(chosen) != _BANDS_OF_RGB:
        raise UserError(
            f"images have {there} bands and the weights take 3; choose three by --bands 0 1 2 (as "
            "R, G, B), or leave out --weights"
        )
    loading: dict[str, Any] = dict(bands=chosen)
    if not survey.is_common:
        pairs = [[_round(statistics.low[b]), _round(statistics.high[b])] for b in chosen]
        for pair in pairs:
            if pair[0] >= pair[1]:  # a band of one value
                pair[1] = pair[0] + 1
        loading["value_range"] = pairs[0] if all(p == pairs[0] for p in pairs) else pairs
    return loading, len(chosen)


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def channel_statistics(
    start: Start, survey: Survey, loaded: dict[str, Any] | None
) -> tuple[list[float], list[float]]:
    """Mean and deviation of the channels, that of the weights or of the training images.

    Args:
        start: Backbone.
        survey: Statistics of the bands as files have them.
        loaded: Arguments of ``LoadBands``, or None.

    Returns:
        Mean and standard deviation of each channel as it is loaded, from 0 to 255.
    """
    if start.normalization is not None:
        return list(start.normalization.mean), list(start.normalization.std)
    bands = loaded["bands"] if loaded else [0, 1, 2]
    mean, std = survey.bands.mean, survey.bands.std
    if loaded is None and len(mean) < _BANDS_OF_RGB:
        bands = [0, 0, 0]
    ranges = np.array((loaded or {}).get("value_range", (0, 255)), dtype=np.float64)
    low, factor = ranges[..., 0], 255 / (ranges[..., 1] - ranges[..., 0])
    means, stds = (mean[bands] - low) * factor, np.maximum(std[bands] * factor, 1e-3)
    return [round(float(v), 3) for v in means], [round(float(v), 3) for v in stds]
