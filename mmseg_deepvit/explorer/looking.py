"""What a model says about an image: classes, tokens, attention of a point, measures of collapse."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from mmseg.models import BaseSegmentor
from torch import Tensor, nn

from .. import inference
from ..analysis.collapse import Collapse, measure_collapse
from ..analysis.patch_grid import PatchGrid
from ..analysis.point_attention import lay_grid, trained_tokens
from ..analysis.token_pca import TokenPCA, align_signs, token_pca
from ..command_line import config_errors
from ..errors import UserError
from ..inference.torch_segmentor import TorchSegmentor
from ..label_pictures import as_picture
from ..tokens.attention_rows import AttentionRows, attention_layers, catch_attention
from ..tokens.backbone_facts import count_prefix_tokens
from ..tokens.patch_tokens import PatchTokens, read_layers
from ..tokens.point_rows import PointRows, is_over_all, point_rows
from .uploads import shrink

#: Longer side of the backbone's input where the config tells no training crop, in pixels.
_DEFAULT_SIDE = 512


@dataclass(frozen=True)
class TokenLayer:
    """Tokens of one layer.

    Attributes:
        name: Name of the block or output.
        grid: Patches over the image.
        pca: First three principal components, their signs aligned with those of the layer before.
    """

    name: str
    grid: PatchGrid
    pca: TokenPCA


@dataclass(frozen=True)
class Look:
    """What a model says about one image.

    Attributes:
        name: Name of the image's file.
        full_size: Height and width of the file's image, in pixels.
        picture: Image that was segmented, for the eye: (H, W, 3), uint8, BGR; smaller if the file's
            is large.
        labels: Class indices, (H, W).
        entered: The image as the backbone took it.
        layers: Tokens layer by layer.
        attention: Queries and keys block by block, which give the maps' rows of any point; empty
            where blocks do not attend from all patches to all patches.
        num_prefix: Number of tokens before those of the patches.
    """

    name: str
    full_size: tuple[int, int]
    picture: np.ndarray
    labels: np.ndarray
    entered: inference.ModelInput
    layers: list[TokenLayer]
    attention: list[AttentionRows]
    num_prefix: int

    def attend(self, x: int, y: int) -> list[PointRows] | None:
        """Attention of the patch under a point, block by block.

        Args:
            x: Column in ``picture``.
            y: Row likewise.

        Returns:
            Rows of each block, (1, heads, N); None where there is no attention to show.
        """
        token = self.num_prefix + self.layers[0].grid.index(x, y)
        return [point_rows(layer, [token]) for layer in self.attention] or None


class ExploredModel:
    """A segmentor that several windows ask; it answers one question at a time.

    Args:
        model: Segmentor of :func:`~mmseg_deepvit.inference.load_segmentor`.
        config: Path of its config, for errors.
        title: Name of the model for the page.
    """

    def __init__(self, model: BaseSegmentor, config: str, title: str) -> None:
        self.title = title
        self.kind = type(model.backbone).__name__
        self.device = str(next(model.parameters()).device)
        self.classes: list[str] = list(model.dataset_meta["classes"])
        self.palette: list[list[int]] = [list(map(int, c)) for c in model.dataset_meta["palette"]]
        self._model = model
        self._segmentor = TorchSegmentor(model)
        self._config = config
        self._lock = threading.Lock()

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Read an image file as the config's test does, (H, W, channels).

        Raises:
            UserError: The file cannot be read, or is no image that the model takes.
        """
        return self._segmentor.read(path)

    def decode(self, data: bytes, name: str) -> np.ndarray:
        """Read the content of an image file as :meth:`read` does; ``name`` is for errors."""
        return self._segmentor.decode(data, name)

    def look(self, image: np.ndarray, name: str) -> Look:
        """Segment an image, and read its tokens.

        Args:
            image: Image as :meth:`read` gives it, (H, W, channels).
            name: Name of its file.

        Raises:
            UserError: The model cannot take the image.
        """
        pixels = shrink(image, len(self.classes))
        with self._alone() as model:
            labels = self._segmentor.run(pixels, tta=False, probabilities=False)[0]
            entered = inference.prepare_image(model, pixels, self._shape())
            tokens, attention = _run(model.backbone, entered.images)
            num_prefix = count_prefix_tokens(model.backbone)
            size = (pixels.shape[0], pixels.shape[1])
            grids = [lay_grid(model.backbone, one.grid, entered, size) for one in tokens.values()]
        components = align_signs([*map(token_pca, tokens.values())])
        layers = [*map(TokenLayer, tokens, grids, components)]
        total = num_prefix + math.prod(layers[0].grid.shape)
        if not all(is_over_all(layer, total) for layer in attention):
            attention = []
        full = (image.shape[0], image.shape[1])
        picture = as_picture(pixels)
        return Look(name, full, picture, labels, entered, layers, attention, num_prefix)

    def measure(self, look: Look) -> Collapse:
        """Measures of collapse on one image.

        Raises:
            UserError: The backbone's attention or tokens cannot be measured.
        """
        with self._alone() as model:
            return measure_collapse(model.backbone, look.entered.images, (1,), with_cka=False)

    def _shape(self) -> int | tuple[int, int]:
        """Limit of the longer side, or the exact crop that the BatchNorms of the maps need."""
        crop = inference.training_crop(self._model.cfg)
        if crop and trained_tokens(self._model.backbone, self._model.cfg) is not None:
            return crop
        return max(crop or (_DEFAULT_SIDE,))

    @contextmanager
    def _alone(self) -> Iterator[BaseSegmentor]:
        """The model for one thread, with errors that name the config."""
        with self._lock, config_errors(self._config):
            yield self._model


def _run(backbone: nn.Module, images: Tensor) -> tuple[dict[str, PatchTokens], list[AttentionRows]]:
    """Tokens by layer, and queries and keys by block, from one run of a backbone."""
    try:
        names = attention_layers(backbone)
    except UserError:  # of a kind that cannot be read
        return read_layers(backbone, images), []
    with catch_attention(backbone, names, lambda layer: layer) as caught:
        tokens = read_layers(backbone, images)
    return tokens, list(caught.values())
