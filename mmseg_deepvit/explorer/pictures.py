"""Pictures of the page, as data URIs; scales and colours are those of the analysis pictures."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.colors import to_hex

from ..analysis.attention_pictures import LEAST_P, Scale, Scene
from ..analysis.token_pca import to_colours
from ..label_pictures import paint_labels
from ..tokens.point_rows import PointRows
from .looking import ExploredModel, Look, TokenLayer

#: Longest side of the large image, and of the small pictures, in pixels.
_LARGE, _SMALL = 1024, 320
_QUALITY = 90  # of JPEG, 0 to 100


@dataclass(frozen=True)
class HeadPictures:
    """Pictures of one kind of map of all heads of a block.

    Attributes:
        pictures: Data URI of each head.
        captions: Name of each head.
        low: Value at the beginning of the scale.
        high: Value at its end.
        colours: Colours of the scale for CSS, lowest first.
    """

    pictures: list[str]
    captions: list[str]
    low: float
    high: float
    colours: list[str]


def fit(image: np.ndarray, longest: int) -> np.ndarray:
    """Scale an image down, (H, W, 3), to a longest side in pixels."""
    factor = longest / max(image.shape[:2])
    if factor >= 1:
        return image
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def jpeg(image: np.ndarray) -> bytes:
    """Content of a JPEG of an image (H, W, 3), uint8, BGR."""
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])


def data_uri(image: np.ndarray) -> str:
    """An image (H, W, 3), uint8, BGR, as an address that holds its content."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(image)).decode()}"


def draw_image(look: Look) -> str:
    """The image itself."""
    return data_uri(fit(look.picture, _LARGE))


def draw_prediction(model: ExploredModel, look: Look) -> str:
    """The image with its classes."""
    image = fit(look.picture, _LARGE)
    size = (image.shape[1], image.shape[0])
    labels = cv2.resize(look.labels.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    return data_uri(paint_labels(image, labels, model.palette))


def draw_heads(
    look: Look, rows: PointRows, point: tuple[int, int]
) -> tuple[HeadPictures, HeadPictures | None]:
    """Maps of all heads of one block: P, and A where the block mixes heads.

    Args:
        look: Image.
        rows: Rows of the point, (1, heads, N).
        point: x and y in ``look.picture``; its patch is framed.
    """
    scene, num_prefix = _small_scene(look), look.num_prefix
    p = rows.probabilities[0].numpy()
    scale = Scale.sequential(p[:, num_prefix:], "P", LEAST_P / p.shape[1])
    captions = [f"head {head}" for head in range(len(p))]
    if num_prefix:
        which = "cls" if num_prefix == 1 else "prefix"
        shares = 100 * p[:, :num_prefix].sum(1)
        captions = [f"{c} · {which} {s:.0f} %" for c, s in zip(captions, shares, strict=True)]
    before = _paint_heads(look, scene, scale, p[:, num_prefix:], captions, point)
    if rows.mixed is None:
        return before, None
    a = rows.mixed[0].numpy()[:, num_prefix:]
    captions = [f"head {head}" for head in range(len(a))]
    return before, _paint_heads(look, scene, Scale.diverging(a, "A"), a, captions, point)


def _paint_heads(
    look: Look,
    scene: Scene,
    scale: Scale,
    maps: np.ndarray,
    captions: list[str],
    point: tuple[int, int],
) -> HeadPictures:
    drawn = [_to_bgr(scale.paint(scene, values)) for values in maps]
    for picture in drawn:
        _frame(picture, look, look.layers[0], point)
    table = scale.mappable().get_cmap()(np.linspace(0, 1, 9))
    colours = [to_hex(colour) for colour in table]
    return HeadPictures([*map(data_uri, drawn)], captions, scale.low, scale.high, colours)


def draw_tokens(look: Look, layer: TokenLayer, point: tuple[int, int]) -> str:
    """Tokens of a layer in the colours of their first three principal components."""
    colours = _to_bgr(layer.grid.spread(to_colours(layer.pca), smooth=False))
    height, width = _small_scene(look).canvas().shape[:2]
    picture = cv2.resize(colours, (width, height), interpolation=cv2.INTER_NEAREST)
    _frame(picture, look, layer, point)
    return data_uri(picture)


def frame_svg(look: Look, point: tuple[int, int]) -> str:
    """Frame of a point's patch for the large image, in its pixels."""
    height, width = fit(look.picture, _LARGE).shape[:2]
    x, y, w, h = _box(look, look.layers[0], point, (height, width))
    line = max(height, width) / 300
    rect = f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="none" '
    return "".join(
        f'{rect} stroke="{colour}" stroke-width="{thick:.2f}"/>'
        for colour, thick in (("black", 3 * line), ("white", 1.3 * line))
    )


def point_at(look: Look, x: float, y: float) -> tuple[int, int]:
    """Pixel of ``look.picture`` under a place on the large image, in that image's pixels."""
    height, width = look.picture.shape[:2]
    large = fit(look.picture, _LARGE).shape
    column, row = int(x * width / large[1]), int(y * height / large[0])
    return min(max(column, 0), width - 1), min(max(row, 0), height - 1)


def _small_scene(look: Look) -> Scene:
    return Scene(fit(look.picture, _SMALL), look.layers[0].grid, 0)


def _frame(picture: np.ndarray, look: Look, layer: TokenLayer, point: tuple[int, int]) -> None:
    x, y, w, h = (round(v) for v in _box(look, layer, point, picture.shape[:2]))
    for colour, thick in ((0, 6), (255, 2)):
        cv2.rectangle(picture, (x, y), (x + w, y + h), (colour,) * 3, thick)


def _box(
    look: Look, layer: TokenLayer, point: tuple[int, int], size: tuple[int, ...]
) -> tuple[float, float, float, float]:
    """Left, top, width and height of a point's patch in a picture of a size (H, W)."""
    tall, wide = size[0] / look.picture.shape[0], size[1] / look.picture.shape[1]
    x, y, w, h = layer.grid.box(*point)
    return x * wide, y * tall, w * wide, h * tall


def _to_bgr(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) of RGB in [0, 1] as uint8 BGR."""
    return np.ascontiguousarray((255 * picture[..., ::-1]).round().astype(np.uint8))
