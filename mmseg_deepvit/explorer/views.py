"""What one window shows: an image, a point on it, and each block's pictures, drawn once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ..label_pictures import class_shares
from ..tokens.point_rows import PointRows
from .looking import ExploredModel, Look
from .pictures import HeadPictures, draw_heads, draw_tokens


@dataclass(frozen=True)
class BlockPictures:
    """Pictures of one block.

    Attributes:
        before: Heads before mixing, P; None where the attention cannot be read.
        after: Heads after mixing, A; None where the block mixes no heads.
        tokens: Data URI of the tokens' colours.
        layer: Name of the tokens' layer.
        shares: Share of the tokens' variance in each of the three components, in [0, 1].
    """

    before: HeadPictures | None
    after: HeadPictures | None
    tokens: str
    layer: str
    shares: list[float]


@dataclass(frozen=True)
class View:
    """One image and one point on it.

    Attributes:
        model: Model that is explored.
        look: Image.
        point: x and y in ``look.picture``.
        rows: Attention of the point's patch in each block; None where it cannot be read.
    """

    model: ExploredModel
    look: Look
    point: tuple[int, int]
    rows: list[PointRows] | None
    _drawn: dict[int, BlockPictures] = field(default_factory=dict)

    @classmethod
    def open(cls, model: ExploredModel, image: np.ndarray, name: str) -> View:
        """Show an image, as the model takes it, to the model; the point is its centre.

        Raises:
            UserError: The model cannot take the image.
        """
        look = model.look(image, name)
        point = (look.picture.shape[1] // 2, look.picture.shape[0] // 2)
        return cls(model, look, point, look.attend(*point))

    def move(self, point: tuple[int, int]) -> View:
        """The same image with another point, x and y in ``look.picture``."""
        return replace(self, point=point, rows=self.look.attend(*point), _drawn={})

    @property
    def num_blocks(self) -> int:
        """Number of blocks, or of layers of tokens where the attention cannot be read."""
        return len(self.rows or self.look.layers)

    @property
    def patch(self) -> tuple[int, int]:
        """Row and column of the point's patch."""
        return self.look.layers[0].grid.find(*self.point)

    def shares(self) -> list[tuple[int, float]]:
        """Index of each class on the image and its share, in (0, 1], the largest first."""
        return class_shares(self.look.labels, len(self.model.classes))

    def draw(self, block: int) -> BlockPictures:
        """Pictures of a block, from 0; a second call returns those of the first."""
        if block not in self._drawn:
            self._drawn[block] = self._draw(block)
        return self._drawn[block]

    def _draw(self, block: int) -> BlockPictures:
        before = after = None
        if self.rows is not None:
            row = self.rows[block]
            before, after = draw_heads(self.look, row, self.point)
        # Some backbones give fewer layers of tokens than they have blocks.
        layers = self.look.layers
        layer = layers[(block + 1) * len(layers) // self.num_blocks - 1]
        tokens = draw_tokens(self.look, layer, self.point)
        return BlockPictures(before, after, tokens, layer.name, layer.pca.shares.tolist())
