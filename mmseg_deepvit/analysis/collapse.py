"""Measure collapse over the depth of a backbone, image by image; no map is held in full.

Paper and definitions: :mod:`mmseg_deepvit.analysis.similarity`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    found = _measure_maps(layers, distances)
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
    """Mean and standard deviation of values that come in parts; nan of none."""

    total: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, values: Tensor) -> None:
        self.total += values.sum(dtype=torch.float64).item()
        self.squares += values.double().square().sum().item()
        self.count += values.numel()

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else math.nan

    @property
    def std(self) -> float:
        return math.sqrt(max(self.squares / self.count - self.mean**2, 0.0))


def _measure_maps(layers: list[AttentionRows], distances: tuple[int, ...]) -> Measures:
    """Measures of the maps of L layers, (L,) each, and (H, H) of the last layer's heads.

    Rows of all layers with equal numbers of queries and keys are computed block by block.
    """
    depth = range(len(layers))
    entropy = [_Mean() for _ in depth]
    heads: dict[tuple[str, int], Tensor] = {}
    by_row: defaultdict[tuple[str, int], _Mean] = defaultdict(_Mean)
    by_column: defaultdict[tuple[str, int], similarity.ColumnCosines]
    by_column = defaultdict(similarity.ColumnCosines)
    for group in _groups(layers):
        for block in row_blocks(layers[group[0]], BLOCK_BYTES):
            recent: dict[int, dict[str, Tensor]] = {}
            for i in group:
                recent[i] = dict(zip(KINDS, layers[i].rows(block), strict=True))
                recent.pop(i - max(distances) - 1, None)
                entropy[i].add(similarity.attention_entropy(recent[i]["P"]))
                earlier = [k for k in distances if i - k in recent and _same(layers, i, i - k)]
                for kind, rows in recent[i].items():
                    cosines = similarity.head_cosines(rows).double()
                    heads[kind, i] = heads.get((kind, i), 0) + cosines
                    for k in earlier:
                        before = recent[i - k][kind]
                        by_row[f"{kind}_k{k}", i].add(similarity.row_cosines(rows, before))
                        by_column[f"{kind}_k{k}", i].add(rows, before)
    found: Measures = {
        "entropy": np.array([mean.mean for mean in entropy]),
        "entropy_std": np.array([mean.std for mean in entropy]),
    }
    for kind in KINDS:
        nearest = np.full(len(layers), np.nan)
        for k in sorted(distances, reverse=True):
            name = f"{kind}_k{k}"
            values = np.array([by_row[name, i].mean for i in depth])
            columns = [by_column.get((name, i)) for i in depth]
            means = [np.nan if c is None else c.cosines().mean().item() for c in columns]
            found[f"similarity_{name}"] = values
            found[f"column_similarity_{name}"] = np.array(means)
            # In Swin the nearest comparable block is the one before the last: windows shift.
            nearest = np.where(np.isnan(values), nearest, values)
        shares = similarity.share_of_similar_blocks(nearest, SIMILAR_BLOCKS)
        found[f"similar_blocks_{kind}"] = shares
        counts = [layer.q.shape[0] * layer.q.shape[2] for layer in layers]
        matrices = [heads[kind, i] / counts[i] for i in depth]
        found[f"head_similarity_{kind}"] = np.array([*map(similarity.mean_of_pairs, matrices)])
        pairs = [similarity.share_of_pairs(matrix, SIMILAR_HEADS) for matrix in matrices]
        found[f"similar_heads_{kind}"] = np.array(pairs)
        found[f"last_heads_{kind}"] = matrices[-1].cpu().numpy()
    return found


def _groups(layers: list[AttentionRows]) -> list[list[int]]:
    """Layers of equal numbers of queries and keys, whose rows are cut into the same blocks."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, layer in enumerate(layers):
        shape = (layer.q.shape[0], layer.q.shape[2], layer.k.shape[2])
        groups.setdefault(shape, []).append(i)
    return list(groups.values())


def _same(layers: list[AttentionRows], i: int, j: int) -> bool:
    """Whether two layers have the same layout of tokens and as many heads."""
    x, y = layers[i], layers[j]
    return x.layout == y.layout and x.q.shape[1] == y.q.shape[1]
