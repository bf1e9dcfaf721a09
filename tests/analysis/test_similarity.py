"""Cases worked out by hand."""

import math

import numpy as np
import pytest
import torch

from mmseg_deepvit.analysis import similarity


def maps(*rows):
    """One image, one head."""
    return torch.tensor(rows)[None, None]


def test_row_cosines():
    x = maps([1.0, 0.0], [0.6, 0.8], [1.0, 1.0])
    y = maps([0.0, 1.0], [0.6, 0.8], [1.0, 0.0])
    expected = torch.tensor([[[0.0, 1.0, 0.5**0.5]]])
    torch.testing.assert_close(similarity.row_cosines(x, y), expected)
    torch.testing.assert_close(similarity.row_cosines(1e-4 * x, -y), -expected)


def test_rows_of_zeros_are_like_nothing():
    zeros = torch.zeros(1, 1, 2, 3)
    assert similarity.row_cosines(zeros, zeros + 1).tolist() == [[[0, 0]]]
    columns = similarity.ColumnCosines()
    columns.add(zeros, zeros + 1)
    assert columns.cosines().tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_column_cosines_by_blocks_are_those_of_the_transpose(size):
    x, y = torch.rand(2, 2, 3, 7, 7, dtype=torch.float64)
    columns = similarity.ColumnCosines()
    for start in range(0, 7, size):
        columns.add(x[:, :, start : start + size], y[:, :, start : start + size])
    expected = similarity.row_cosines(x.transpose(2, 3), y.transpose(2, 3))
    torch.testing.assert_close(columns.cosines(), expected)


def test_head_cosines():
    """Three heads: two alike, one at a right angle; two queries."""
    head = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    rows = torch.stack([head, 3 * head, head.flip(1)])[None]
    matrix = similarity.head_cosines(rows) / 2
    expected = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(matrix, expected)
    assert similarity.mean_of_pairs(matrix) == pytest.approx(1 / 3)
    assert similarity.share_of_pairs(matrix, 0.5) == pytest.approx(1 / 3)
    assert math.isnan(similarity.mean_of_pairs(torch.ones(1, 1)))
    assert math.isnan(similarity.share_of_pairs(torch.ones(1, 1), 0.5))


def test_share_of_similar_blocks():
    shares = similarity.share_of_similar_blocks(np.array([np.nan, 0.9, 0.8, np.nan, 0.81]), 0.8)
    assert math.isnan(shares[0])
    assert shares[1:] == pytest.approx([1, 1 / 2, 1 / 2, 2 / 3])


def test_attention_entropy():
    rows = maps([1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0])
    torch.testing.assert_close(
        similarity.attention_entropy(rows), torch.tensor([[[0.0, 1.0, 0.5]]])
    )
    assert similarity.attention_entropy(torch.ones(1, 2, 1, 1)).tolist() == [[[0], [0]]]


def test_patch_similarity():
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-2.0, 0.0]]])
    assert similarity.patch_similarity(tokens) == pytest.approx(1 / 3)
    assert similarity.patch_similarity(torch.ones(1, 5, 4)) == pytest.approx(1)


def test_effective_rank():
    """Equal singular values count them; values 3 and 1 give e to the entropy of 3/4 and 1/4."""
    assert similarity.effective_rank(torch.eye(4)[None]) == pytest.approx(4)
    assert similarity.effective_rank(torch.ones(1, 7, 3)) == pytest.approx(1)
    assert similarity.effective_rank(torch.zeros(1, 7, 3)) == 0
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    tokens = torch.tensor([[[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    assert similarity.effective_rank(tokens) == pytest.approx(math.exp(entropy))
    assert similarity.effective_rank(tokens.transpose(1, 2)) == pytest.approx(math.exp(entropy))
    both = torch.cat([tokens, torch.eye(2, 3)[None]])
    assert similarity.effective_rank(both) == pytest.approx((math.exp(entropy) + 2) / 2)


def test_high_frequency_energy():
    """The mean of (3, 0) and (1, 0) is (2, 0): 2 of the energy 10 is not in it."""
    tokens = torch.tensor([[[3.0, 0.0], [1.0, 0.0]]])
    assert similarity.high_frequency_energy(tokens) == pytest.approx(0.2)
    assert similarity.high_frequency_energy(torch.ones(2, 5, 3)) == pytest.approx(0)
    assert similarity.high_frequency_energy(torch.zeros(2, 5, 3)) == 0


def test_linear_cka():
    """Turning, scaling and shifting change nothing; directions that never meet give 0."""
    x = torch.randn(30, 5, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    assert similarity.linear_cka(x, 3 * x @ turn + 7) == pytest.approx(1)
    a = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    b = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert similarity.linear_cka(a, b) == pytest.approx(0)
    # (a, b) against a: ‖(a, b)ᵀa‖² = 16, ‖XᵀX‖ = √32, ‖aᵀa‖ = 4.
    assert similarity.linear_cka(torch.cat([a, b], 1), a) == pytest.approx(16 / (32**0.5 * 4))
    assert similarity.linear_cka(x, torch.ones_like(x)) == 0
