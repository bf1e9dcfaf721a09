"""Measure collapse over the depth of a backbone, image by image; no map is held in full.

Paper and definitions: :mod:`mmseg_deepvit.analysis.similarity`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..module_calls import evaluation
from ..tokens.attention_rows import AttentionRows, attention_layers, catch_attention, row_blocks
from ..tokens.patch_tokens import catch_outputs, read_tokens
from . import similarity

#: Thresholds above which maps of two blocks, and of two heads of a block, count as similar.
SIMILAR_BLOCKS = 0.8
SIMILAR_HEADS = 0.5
#: Bytes of one map's rows at a time.
BLOCK_BYTES = 16 * 2**20
#: Names of the two kinds of maps: probabilities, and maps that meet the values.
KINDS = ("P", "A")

#: Results by measure: a number for each layer, or a matrix; nan where there is none.
Measures = dict[str, np.ndarray]


@dataclass(frozen=True)
class Collapse:
    """Measures of a backbone.

    Attributes:
        layers: Names of the L blocks with attention, in order.
        mean: Means over images by measure, (L,) each: ``similarity_P_k1`` (to the block before;
            likewise for A, and for other k), ``column_similarity_P_k1`` (by columns),
            ``similar_blocks_P``, ``head_similarity_P``, ``similar_heads_P``, ``entropy``,
            ``entropy_std``, ``patch_similarity``, ``effective_rank``, ``high_frequency``. Also
            ``last_heads_P``, (H, H), and, if asked for, ``cka``, (L, L).
        std: Standard deviations over images, likewise.
        num_images: Number of images.
        distances: The k of block similarities.
    """

    layers: list[str]
    mean: Measures
    std: Measures
    num_images: int
    distances: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """The measures in lists, None for nan."""
        mean, std = ({k: _plain(v) for k, v in one.items()} for one in (self.mean, self.std))
        return {**asdict(self), "distances": list(self.distances), "mean": mean, "std": std}


def _plain(values: np.ndarray) -> Any:
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()


def measure_collapse(
    backbone: nn.Module,
    images: Tensor,
    distances: Sequence[int] = (1, 2, 3),
    with_cka: bool = True,
) -> Collapse:
    """Measure a backbone on some images; it is left unchanged.

    Args:
        backbone: Model with attention that :mod:`mmseg_deepvit.tokens.attention_rows` can read.
        images: (B, 3, H, W), normalised.
        distances: Distances k of the earlier blocks that each block is compared with.
        with_cka: Whether tokens of any two layers are compared, L²/2 products.

    Returns:
        The measures.

    Raises:
        UserError: Some block has no such attention, or gives no patch tokens.
    """
    names = attention_layers(backbone)
    found = []
    with torch.no_grad(), evaluation(backbone), torch.autocast(images.device.type, enabled=False):
        for image in images:
            found.append(_measure_image(backbone, names, image[None], tuple(distances), with_cka))
    mean, std = {}, {}
    for name in found[0]:
        values = np.stack([one[name] for one in found])
        mean[name], std[name] = values.mean(0), values.std(0)
    return Collapse(list(names), mean, std, len(found), tuple(distances))


def _measure_image(
    backbone: nn.Module,
    names: dict[str, str],
    image: Tensor,
    distances: tuple[int, ...],
    with_cka: bool,
) -> Measures:
    """Measures of one image, (1, 3, H, W)."""
    layers, tokens = _run(backbone, names, image)
    found = _MapMeasures(layers, distances).measure()
    for name, function in (
        ("patch_similarity", similarity.patch_similarity),
        ("effective_rank", similarity.effective_rank),
        ("high_frequency", similarity.high_frequency_energy),
    ):
        found[name] = np.array([function(x) for x in tokens])
    if with_cka:
        found["cka"] = _cka([x[0] for x in tokens])
    return found


def _run(
    backbone: nn.Module, names: dict[str, str], image: Tensor
) -> tuple[list[AttentionRows], list[Tensor]]:
    """The blocks' attention and their patch tokens, (1, h·w, C) each."""
    with (
        catch_attention(backbone, names, lambda layer: layer) as layers,
        catch_outputs(backbone, names) as caught,
    ):
        backbone(image)
    # Blocks after the last output do not run.
    for name in [name for name in names if name not in layers]:
        del names[name]
    try:
        tokens = [read_tokens(caught, name, image, backbone).tokens.float() for name in names]
    except ValueError as error:
        raise UserError(str(error)) from error
    return [layers[name] for name in names], tokens


def _cka(tokens: list[Tensor]) -> np.ndarray:
    """(L, L); nan for layers of different numbers of tokens."""
    result = np.full((len(tokens), len(tokens)), np.nan)
    for i, x in enumerate(tokens):
        for j, y in enumerate(tokens[: i + 1]):
            if len(x) == len(y):
                result[i, j] = result[j, i] = similarity.linear_cka(x, y)
    return result


@dataclass
class _Mean:
    """Mean and standard deviation of values that come in parts."""

    total: float = 0.0
    count: int = 0
    squares: float = 0.0

    def add(self, values: Tensor) -> None:
        self.total += values.sum(dtype=torch.float64).item()
        self.squares += values.double().square().sum().item()
        self.count += values.numel()

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def std(self) -> float:
        return math.sqrt(max(self.squares / self.count - self.mean**2, 0.0))


@dataclass
class _Layer:
    """Sums of a layer, by kind of map."""

    entropy: _Mean = field(default_factory=_Mean)
    heads: dict[str, Any] = field(default_factory=dict)
    by_row: dict[tuple[str, int], _Mean] = field(default_factory=dict)
    by_column: dict[tuple[str, int], similarity.ColumnCosines] = field(default_factory=dict)


class _MapMeasures:
    """Measures of the maps of all layers; rows are computed block by block."""

    def __init__(self, layers: list[AttentionRows], distances: tuple[int, ...]) -> None:
        self.layers, self.distances = layers, distances
        self.sums = [_Layer() for _ in layers]

    def measure(self) -> Measures:
        """Arrays (L,) by name, and (H, H) of the last layer's heads."""
        for group in self._groups():
            for block in row_blocks(self.layers[group[0]], BLOCK_BYTES):
                self._add_block(group, block)
        return self._results()

    def _groups(self) -> list[list[int]]:
        """Layers of equal numbers of queries and keys, whose rows are cut into the same blocks."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, layer in enumerate(self.layers):
            shape = (layer.q.shape[0], layer.q.shape[2], layer.k.shape[2])
            groups.setdefault(shape, []).append(i)
        return list(groups.values())

    def _add_block(self, group: list[int], block: slice) -> None:
        recent: dict[int, tuple[Tensor, Tensor]] = {}
        for i in group:
            recent[i] = self.layers[i].rows(block)
            recent.pop(i - max(self.distances) - 1, None)
            self._add_layer(i, recent[i])
            for k in self.distances:
                if i - k in recent and self._comparable(i, i - k):
                    self._add_pair(i, k, recent[i], recent[i - k])

    def _comparable(self, i: int, j: int) -> bool:
        x, y = self.layers[i], self.layers[j]
        return x.layout == y.layout and x.q.shape[1] == y.q.shape[1]

    def _add_layer(self, i: int, maps: tuple[Tensor, Tensor]) -> None:
        sums = self.sums[i]
        sums.entropy.add(similarity.attention_entropy(maps[0]))
        count = maps[0].shape[0] * maps[0].shape[2]
        for kind, rows in zip(KINDS, maps, strict=True):
            total, seen = sums.heads.get(kind, (0, 0))
            sums.heads[kind] = total + similarity.head_cosines(rows).double(), seen + count

    def _add_pair(
        self, i: int, k: int, maps: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor]
    ) -> None:
        sums = self.sums[i]
        for kind, x, y in zip(KINDS, maps, before, strict=True):
            sums.by_row.setdefault((kind, k), _Mean()).add(similarity.row_cosines(x, y))
            sums.by_column.setdefault((kind, k), similarity.ColumnCosines()).add(x, y)

    def _results(self) -> Measures:
        found: Measures = {
            "entropy": np.array([s.entropy.mean for s in self.sums]),
            "entropy_std": np.array([s.entropy.std for s in self.sums]),
        }
        for kind in KINDS:
            for k in self.distances:
                rows = [s.by_row.get((kind, k)) for s in self.sums]
                found[f"similarity_{kind}_k{k}"] = np.array([m.mean if m else np.nan for m in rows])
                columns = [s.by_column.get((kind, k)) for s in self.sums]
                found[f"column_similarity_{kind}_k{k}"] = np.array(
                    [c.cosines().mean().item() if c else np.nan for c in columns]
                )
            shares = similarity.share_of_similar_blocks(self._nearest(found, kind), SIMILAR_BLOCKS)
            found[f"similar_blocks_{kind}"] = np.array(shares)
            heads = [total / count for total, count in (s.heads[kind] for s in self.sums)]
            found[f"head_similarity_{kind}"] = np.array([*map(similarity.mean_of_pairs, heads)])
            found[f"similar_heads_{kind}"] = np.array(
                [similarity.share_of_pairs(matrix, SIMILAR_HEADS) for matrix in heads]
            )
            found[f"last_heads_{kind}"] = heads[-1].cpu().numpy()
        return found

    def _nearest(self, found: Measures, kind: str) -> list[float]:
        """Similarity of each block to the nearest earlier block of the same layout.

        In Swin that is the one before the last, as windows shift from block to block.
        """
        nearest = np.full(len(self.layers), np.nan)
        for k in sorted(self.distances, reverse=True):
            values = found[f"similarity_{kind}_k{k}"]
            nearest = np.where(np.isnan(values), nearest, values)
        return nearest.tolist()
