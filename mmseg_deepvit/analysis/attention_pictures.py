"""Pictures of the attention from points, and of tokens as colours.

P (probabilities) is drawn in a sequential scale from 0, A (mixed maps, signed) in a diverging one
around 0. All panels of a kind in a picture share one scale, which ends at the 98th percentile.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..tokens.point_rows import PointRows
from .patch_grid import PatchGrid
from .token_pca import TokenPCA, to_colours

#: Least end of the scale of P, in 1/N: equal attention to all keys must not look high.
LEAST_P = 3
#: Share of a picture's values that its colour scale covers, in percent.
SCALE_PERCENTILE = 98
_PANEL = 1.5  # inches of the longer side of a panel
_DPI = 160
_LONGEST = 320  # pixels of the longer side of an image in a panel
_OPACITY, _CONTRAST = 0.75, 0.6
_FONT_SIZE = 8
_HEAD_COLUMNS, _OVERVIEW_COLUMNS, _PCA_COLUMNS = 6, 8, 9


@dataclass(frozen=True)
class Point:
    """A pixel of an image; the attention from its patch is drawn.

    Attributes:
        x: Distance from the left.
        y: Distance from the top.
    """

    x: int
    y: int

    def __str__(self) -> str:
        """The point as (x, y)."""
        return f"({self.x}, {self.y})"


@dataclass(frozen=True)
class Scene:
    """An image that attention is drawn over.

    Attributes:
        image: Image (H, W, 3), uint8, BGR.
        grid: Patches of the model over the image.
        num_prefix: Number of tokens before those of the patches; their columns are not drawn.
    """

    image: np.ndarray
    grid: PatchGrid
    num_prefix: int

    def canvas(self) -> np.ndarray:
        """The image in RGB, (H', W', 3) in [0, 1], for a panel."""
        factor = _LONGEST / max(self.image.shape[:2])
        size = [max(1, round(side * factor)) for side in self.image.shape[1::-1]]
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        return cv2.resize(self.image, size, interpolation=how)[..., ::-1] / 255.0


@dataclass(frozen=True)
class Scale:
    """A scale of colours for values.

    Attributes:
        colours: Colours from the lowest to the highest value.
        low: Value of the first colour.
        high: Value of the last colour.
        label: Label of the colour bar.
        extend: Ends of the scale that values may lie beyond.
    """

    colours: Colormap
    low: float
    high: float
    label: str
    extend: Literal["max", "both"] = "max"

    @classmethod
    def sequential(cls, values: np.ndarray, label: str, least: float = 0.0) -> Scale:
        """A scale from 0 to the 98th percentile of the values, or to ``least`` if that is more."""
        return cls(colormaps["inferno"], 0.0, max(_limit(values), least), label)

    @classmethod
    def diverging(cls, values: np.ndarray, label: str) -> Scale:
        """A scale around 0, of equal range below and above."""
        limit = _limit(np.abs(values))
        return cls(colormaps["RdBu_r"], -limit, limit, label, "both")

    def paint(self, scene: Scene, values: np.ndarray) -> np.ndarray:
        """Values (h·w,) in colours over the grey image; (H', W', 3) in [0, 1]."""
        canvas = scene.canvas().astype(np.float32)
        spread = scene.grid.spread(values)
        spread = cv2.resize(spread, canvas.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        # Little contrast: dark parts of the image must not look like small values.
        grey = 0.5 + _CONTRAST * (cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)[..., None] - 0.5)
        colours = self.colours(Normalize(self.low, self.high)(spread))[..., :3]
        painted: np.ndarray = _OPACITY * colours + (1 - _OPACITY) * grey
        return painted

    def mappable(self) -> ScalarMappable:
        """The colours of a colour bar, as they look over a medium grey."""
        table = _OPACITY * self.colours(np.linspace(0, 1, 256))[:, :3] + (1 - _OPACITY) * 0.5
        return ScalarMappable(Normalize(self.low, self.high), ListedColormap(table))


@dataclass(frozen=True)
class Part:
    """Maps that share a scale.

    Attributes:
        scale: Scale of all maps.
        names: Title of each map.
        maps: Values (h·w,) of each map; None where there is no map.
    """

    scale: Scale
    names: Sequence[str]
    maps: Sequence[np.ndarray | None]


def _limit(values: np.ndarray) -> float:
    return float(np.percentile(values, SCALE_PERCENTILE)) or 1.0


def draw_heads(scene: Scene, point: Point, rows: PointRows, index: int, title: str) -> np.ndarray:
    """Draw all heads of one block: P, and A under it where heads are mixed.

    Args:
        scene: Image that the maps are drawn over.
        point: Point whose attention is drawn.
        rows: Rows of the block's maps, one for each point.
        index: Index of the point's row.
        title: Title of the picture.

    Returns:
        Picture (H, W, 3), uint8, BGR.
    """
    row, p = rows.probabilities[index], _patches(scene, rows.probabilities[index])
    to_prefix = row[:, : scene.num_prefix].sum(1).tolist()
    names = [f"P, head {head}" for head in range(len(p))]
    if scene.num_prefix:
        which = "cls" if scene.num_prefix == 1 else "prefix"
        names = [f"{n} ({which} {100 * x:.0f} %)" for n, x in zip(names, to_prefix, strict=True)]
    parts = [Part(Scale.sequential(p, "P (softmax)", LEAST_P / row.shape[1]), names, list(p))]
    if rows.mixed is not None:
        a = _patches(scene, rows.mixed[index])
        names = [f"A, head {head}" for head in range(len(a))]
        parts.append(Part(Scale.diverging(a, "A (mixed)"), names, list(a)))
    return _draw_parts(scene, point, parts, _HEAD_COLUMNS, title)


def draw_overview(
    scene: Scene, point: Point, blocks: Sequence[PointRows], index: int, title: str
) -> np.ndarray:
    """Draw all blocks: the mean over the heads of P, and of |A| where heads are mixed.

    Args:
        scene: Image that the maps are drawn over.
        point: Point whose attention is drawn.
        blocks: Rows of each block's maps, one for each point.
        index: Index of the point's row.
        title: Title of the picture.

    Returns:
        Picture (H, W, 3), uint8, BGR.
    """
    p = [_patches(scene, rows.probabilities[index]).mean(0) for rows in blocks]
    names = [f"P, block {block}" for block in range(len(p))]
    least = LEAST_P / blocks[0].probabilities.shape[-1]
    parts = [Part(Scale.sequential(np.stack(p), "mean P", least), names, list(p))]
    mixed = [r.mixed if r.mixed is None else _patches(scene, r.mixed[index]) for r in blocks]
    a = [(i, x if x is None else np.abs(x).mean(0)) for i, x in enumerate(mixed)]
    there = [x for _, x in a if x is not None]
    if there:
        # In one line A of a block stands under its P.
        a = a if len(a) <= _OVERVIEW_COLUMNS else [(i, x) for i, x in a if x is not None]
        scale = Scale.sequential(np.stack(there), "mean |A|")
        parts.append(Part(scale, [f"|A|, block {i}" for i, _ in a], [x for _, x in a]))
    return _draw_parts(scene, point, parts, _OVERVIEW_COLUMNS, title)


def _draw_parts(
    scene: Scene, point: Point, parts: Sequence[Part], most_columns: int, title: str
) -> np.ndarray:
    """Draw the image on the left and the parts on its right, each with a colour bar."""
    count = len(parts[0].maps)
    columns = -(-count // -(-count // most_columns))  # lines of about equal length
    lines = [-(-len(part.maps) // columns) for part in parts]
    width, height = _panel_size(scene)
    size = (width * (columns + 1) + 0.9, (height + 0.25) * sum(lines) + 0.4)
    figure = _figure(*size, title)
    cells = figure.add_gridspec(sum(lines), columns + 1)
    _show(figure.add_subplot(cells[0, 0]), scene.canvas(), scene, point, f"image, {point}")
    for i, part in enumerate(parts):
        rows = range(sum(lines[:i]), sum(lines[: i + 1]))
        axes = [figure.add_subplot(cells[row, 1 + j]) for row in rows for j in range(columns)]
        for axis in axes[len(part.maps) :]:
            axis.axis("off")
        for axis, name, values in zip(axes, part.names, part.maps, strict=False):
            if values is None:
                text = f"{name}:\nnot mixed, A = P"
                axis.text(
                    0.5, 0.5, text, ha="center", va="center", fontsize=_FONT_SIZE, color="0.4"
                )
                axis.axis("off")
            else:
                _show(axis, part.scale.paint(scene, values), scene, point, name)
        shape: dict[str, Any] = dict(extend=part.scale.extend, shrink=0.9, pad=0.01, aspect=16)
        bar = figure.colorbar(part.scale.mappable(), ax=axes, **shape)
        bar.set_label(part.scale.label, fontsize=_FONT_SIZE)
        bar.ax.tick_params(labelsize=_FONT_SIZE - 1)
        bar.ax.yaxis.get_offset_text().set_fontsize(_FONT_SIZE - 1)
    return _render(figure)


def draw_token_pca(
    scene: Scene, layers: Sequence[tuple[str, PatchGrid, TokenPCA]], title: str
) -> np.ndarray:
    """Draw the image, and each layer's tokens in the colours of their first three components.

    Args:
        scene: The image.
        layers: Name, patches and components of each layer, signs aligned.
        title: Title of the picture.

    Returns:
        Picture (H, W, 3), uint8, BGR.
    """
    columns = min(len(layers) + 1, _PCA_COLUMNS)
    lines = -(-(len(layers) + 1) // columns)
    width, height = _panel_size(scene)
    figure = _figure(width * columns, (height + 0.34) * lines + 0.35, title)
    axes = figure.subplots(lines, columns, squeeze=False).flat
    _show(next(axes), scene.canvas(), scene, None, "image")
    for name, grid, pca in layers:
        colours = grid.spread(to_colours(pca), smooth=False)
        shares = " + ".join(f"{100 * share:.0f}" for share in pca.shares.tolist())
        _show(next(axes), colours, scene, None, f"{name}\n{shares} %")
    for axis in axes:
        axis.axis("off")
    return _render(figure)


def _patches(scene: Scene, row: Any) -> np.ndarray:
    """The patches' columns of rows (H, N)."""
    return np.asarray(row[:, scene.num_prefix :])


def _panel_size(scene: Scene) -> tuple[float, float]:
    """Width and height of a panel in inches."""
    height, width = scene.image.shape[:2]
    factor = _PANEL / max(height, width)
    return max(width * factor, _PANEL / 2), max(height * factor, _PANEL / 3)


def _figure(width: float, height: float, title: str) -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=_FONT_SIZE + 2)
    return figure


def _show(axis: Axes, picture: np.ndarray, scene: Scene, point: Point | None, title: str) -> None:
    """Show a picture in the image's coordinates, with the point's patch marked."""
    height, width = scene.image.shape[:2]
    axis.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
    axis.set_title(title, fontsize=_FONT_SIZE, pad=2.5)
    axis.axis("off")
    if point is not None:
        left, top, across, down = scene.grid.box(point.x, point.y)
        for colour, line in (("black", 2.0), ("white", 0.9)):
            box = Rectangle((left, top), across, down, fill=False, edgecolor=colour, linewidth=line)
            axis.add_patch(box)


def _render(figure: Figure) -> np.ndarray:
    """The figure without the empty space around it."""
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.05)
    return np.asarray(cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR))
