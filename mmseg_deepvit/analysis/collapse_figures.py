"""Figures of collapse: those of the DeepViT and DiversePatch papers, several models in each.

Paper: DeepViT, https://arxiv.org/abs/2103.11886, figures 3 and 6; Vision Transformers with Patch
Diversification, https://arxiv.org/abs/2104.12753, figure 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .collapse import KINDS, SIMILAR_BLOCKS, SIMILAR_HEADS, Collapse

#: One line style a k.
_STYLES = ("-", "--", ":", "-.")
_LABELS = {"P": "P, after the softmax", "A": "A, which meets the values"}


def draw_all(found: Mapping[str, Collapse]) -> dict[str, Figure]:
    """All figures of some models.

    Args:
        found: Measures by the model's name.

    Returns:
        Figures by file name without ending.
    """
    figures: dict[str, Callable[[Mapping[str, Collapse]], Figure]] = {
        "block_similarity": _block_similarity,
        "similar_blocks": _similar_blocks,
        "heads": _heads,
        "last_heads": _last_heads,
        "patches": _patches,
        "entropy": _entropy,
    }
    drawn = {name: draw(found) for name, draw in figures.items()}
    if all("cka" in one.mean for one in found.values()):
        drawn["cka"] = _cka(found)
    return drawn


def _panels(titles: list[str], rows: int = 1) -> tuple[Figure, list[Any]]:
    columns = len(titles) // rows
    figure = Figure(figsize=(4.6 * columns, 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=10)
    return figure, axes


def _finish(axes: list[Any], label: str | list[str], limits: tuple[float, float] | None) -> None:
    labels = [label] * len(axes) if isinstance(label, str) else label
    for ax, text in zip(axes, labels, strict=True):
        ax.set(xlabel="block", ylabel=text)
        ax.grid(alpha=0.3)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if limits:
            ax.set_ylim(*limits)
    axes[0].legend(fontsize=7)


def _line(ax: Any, one: Collapse, measure: str, color: int, label: str, **style: Any) -> None:
    """A measure against depth, with its deviation over images as a band."""
    mean, std = one.mean[measure], one.std[measure]
    depth = np.arange(1, len(mean) + 1)
    ax.plot(depth, mean, color=f"C{color}", label=label, **style)
    ax.fill_between(depth, mean - std, mean + std, color=f"C{color}", alpha=0.12, linewidth=0)


def _block_similarity(found: Mapping[str, Collapse]) -> Figure:
    figure, axes = _panels([_LABELS[kind] for kind in KINDS])
    for ax, kind in zip(axes, KINDS, strict=True):
        for i, (name, one) in enumerate(found.items()):
            for k, style in zip(one.distances, _STYLES, strict=False):
                _line(ax, one, f"similarity_{kind}_k{k}", i, f"{name}, k = {k}", linestyle=style)
    _finish(axes, "cosine similarity to the block k before", None)
    return figure


def _similar_blocks(found: Mapping[str, Collapse]) -> Figure:
    figure, axes = _panels([_LABELS[kind] for kind in KINDS])
    for ax, kind in zip(axes, KINDS, strict=True):
        for i, (name, one) in enumerate(found.items()):
            _line(ax, one, f"similar_blocks_{kind}", i, name, marker=".")
    _finish(axes, f"share of blocks with similarity > {SIMILAR_BLOCKS}", (-0.03, 1.03))
    return figure


def _heads(found: Mapping[str, Collapse]) -> Figure:
    titles = [f"{_LABELS[kind]}: {what}" for what in ("mean", "share") for kind in KINDS]
    figure, axes = _panels(titles, rows=2)
    measures = [f"{what}_{kind}" for what in ("head_similarity", "similar_heads") for kind in KINDS]
    for ax, measure in zip(axes, measures, strict=True):
        for i, (name, one) in enumerate(found.items()):
            _line(ax, one, measure, i, name, marker=".")
    share = f"share of pairs of heads > {SIMILAR_HEADS}"
    _finish(axes, ["cosine similarity of two heads"] * 2 + [share] * 2, None)
    return figure


def _matrices(
    found: Mapping[str, Collapse], measures: list[str], label: str, low: float, colors: str
) -> Figure:
    """A row for each measure, a column for each model."""
    figure = Figure(figsize=(3.4 * len(found) + 0.8, 3.1 * len(measures)), layout="constrained")
    axes = figure.subplots(len(measures), len(found), squeeze=False)
    for row, measure in zip(axes, measures, strict=True):
        for ax, (name, one) in zip(row, found.items(), strict=True):
            matrix = one.mean[measure]
            edges = (0.5, len(matrix) + 0.5)
            image = ax.imshow(
                matrix, vmin=low, vmax=1, cmap=colors, origin="lower", extent=(*edges, *edges)
            )
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(MaxNLocator(integer=True))
            kind = {"P": ", P", "A": ", A"}.get(measure[-1], "")
            ax.set_title(f"{name}{kind}", fontsize=9)
            ax.set(xlabel=label, ylabel=label)
    figure.colorbar(image, ax=axes.ravel().tolist(), shrink=0.8)
    return figure


def _last_heads(found: Mapping[str, Collapse]) -> Figure:
    measures = [f"last_heads_{kind}" for kind in KINDS]
    return _matrices(found, measures, "head of the last block", -1, "RdBu_r")


def _patches(found: Mapping[str, Collapse]) -> Figure:
    measures = {
        "patch_similarity": "mean |cos| of patches",
        "effective_rank": "effective rank of tokens",
        "high_frequency": "energy not in the mean token",
    }
    figure, axes = _panels(list(measures.values()))
    for ax, measure in zip(axes, measures, strict=True):
        for i, (name, one) in enumerate(found.items()):
            _line(ax, one, measure, i, name, marker=".")
    _finish(axes, list(measures.values()), None)
    return figure


def _entropy(found: Mapping[str, Collapse]) -> Figure:
    measures = {"entropy": "mean", "entropy_std": "deviation over heads and queries"}
    figure, axes = _panels([f"entropy of P over ln N: {what}" for what in measures.values()])
    for ax, measure in zip(axes, measures, strict=True):
        for i, (name, one) in enumerate(found.items()):
            _line(ax, one, measure, i, name, marker=".")
    _finish(axes, list(measures.values()), None)
    return figure


def _cka(found: Mapping[str, Collapse]) -> Figure:
    return _matrices(found, ["cka"], "block", 0, "viridis")
