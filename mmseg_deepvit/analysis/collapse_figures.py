"""Figures of collapse: those of the DeepViT and DiversePatch papers, several models in each.

Paper: DeepViT, https://arxiv.org/abs/2103.11886, figures 3 and 6; Vision Transformers with Patch
Diversification, https://arxiv.org/abs/2104.12753, figure 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .collapse import KINDS, SIMILAR_BLOCKS, SIMILAR_HEADS, Collapse

#: One line style for each k.
_STYLES = ("-", "--", ":", "-.")
_LABELS = {"P": "P, after the softmax", "A": "A, which meets the values"}


class Panel(NamedTuple):
    """A measure against depth.

    Attributes:
        title: Title of the panel.
        measure: Name of the measure, with ``{k}`` where there is one for each distance.
        label: Label of the y axis.
    """

    title: str
    measure: str
    label: str


_SIMILARITY = "cosine similarity to the block k before"
_SHARE = f"share of blocks with similarity > {SIMILAR_BLOCKS}"
_HEADS = {
    "head_similarity": ("mean", "cosine similarity of two heads"),
    "similar_heads": ("share", f"share of pairs of heads > {SIMILAR_HEADS}"),
}
_TOKENS = {
    "patch_similarity": "mean |cos| of patches",
    "effective_rank": "effective rank of tokens",
    "high_frequency": "energy not in the mean token",
}
_ENTROPY = {"entropy": "mean", "entropy_std": "deviation over heads and queries"}
#: Panels of the figures of lines, by file name.
_LINES = {
    "block_similarity": [
        Panel(_LABELS[kind], f"similarity_{kind}_k{{k}}", _SIMILARITY) for kind in KINDS
    ],
    "similar_blocks": [Panel(_LABELS[kind], f"similar_blocks_{kind}", _SHARE) for kind in KINDS],
    "heads": [
        Panel(f"{_LABELS[kind]}: {how}", f"{measure}_{kind}", label)
        for measure, (how, label) in _HEADS.items()
        for kind in KINDS
    ],
    "patches": [Panel(label, measure, label) for measure, label in _TOKENS.items()],
    "entropy": [
        Panel(f"entropy of P over ln N: {label}", measure, label)
        for measure, label in _ENTROPY.items()
    ],
}


def draw_all(found: Mapping[str, Collapse]) -> dict[str, Figure]:
    """All figures of some models.

    Returns:
        Figures by file name without ending.
    """
    drawn = {name: _draw_lines(found, panels) for name, panels in _LINES.items()}
    last = [f"last_heads_{kind}" for kind in KINDS]
    drawn["last_heads"] = _draw_matrices(found, last, "head of the last block", -1, "RdBu_r")
    if all("cka" in one.mean for one in found.values()):
        drawn["cka"] = _draw_matrices(found, ["cka"], "block", 0, "viridis")
    return drawn


def _draw_lines(found: Mapping[str, Collapse], panels: Sequence[Panel]) -> Figure:
    """Panels in lines of at most three; a colour for each model, a style for each k."""
    columns = 2 if len(panels) == 4 else len(panels)
    rows = len(panels) // columns
    figure = Figure(figsize=(4.6 * columns, 3.4 * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(all_axes, panels, strict=True):
        for i, (name, one) in enumerate(found.items()):
            for measure, label, style in _curves(panel.measure, name, one.distances):
                mean, std = one.mean[measure], one.std[measure]
                depth = np.arange(1, len(mean) + 1)
                axes.plot(depth, mean, f"C{i}", label=label, linestyle=style, marker=".")
                band = dict(color=f"C{i}", alpha=0.12, linewidth=0)
                axes.fill_between(depth, mean - std, mean + std, **band)
        axes.set_title(panel.title, fontsize=10)
        axes.set(xlabel="block", ylabel=panel.label)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if panel.label.startswith("share of blocks"):
            axes.set_ylim(-0.03, 1.03)
    all_axes[0].legend(fontsize=7)
    return figure


def _curves(measure: str, name: str, distances: Sequence[int]) -> Iterator[tuple[str, str, str]]:
    """Measure, label and style of each line of a model in a panel."""
    if "{k}" not in measure:
        yield measure, name, "-"
        return
    for k, style in zip(distances, _STYLES, strict=False):
        yield measure.format(k=k), f"{name}, k = {k}", style


def _draw_matrices(
    found: Mapping[str, Collapse], measures: Sequence[str], label: str, low: float, colours: str
) -> Figure:
    """A row for each measure, a column for each model."""
    figure = Figure(figsize=(3.4 * len(found) + 0.8, 3.1 * len(measures)), layout="constrained")
    cells = figure.subplots(len(measures), len(found), squeeze=False)
    for row, measure in zip(cells, measures, strict=True):
        axes: Axes
        for axes, (name, one) in zip(row, found.items(), strict=True):
            edges = (0.5, len(one.mean[measure]) + 0.5)
            matrix, extent = one.mean[measure], (*edges, *edges)
            image = axes.imshow(
                matrix, vmin=low, vmax=1, cmap=colours, origin="lower", extent=extent
            )
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(integer=True))
            kind = f", {measure[-1]}" if measure[-1] in KINDS else ""
            axes.set_title(f"{name}{kind}", fontsize=9)
            axes.set(xlabel=label, ylabel=label)
    figure.colorbar(image, ax=cells.ravel().tolist(), shrink=0.8)
    return figure
