import numpy as np
import torch

from mmseg_deepvit.analysis.token_pca import (
    TokenPCA,
    align_signs,
    to_colours,
    token_pca,
)
from mmseg_deepvit.tokens.patch_tokens import PatchTokens


def test_scores_are_those_of_the_covariance():
    """Against eigenvectors of the covariance, which the SVD of tokens does not go through."""
    x = torch.randn(1, 35, 8, dtype=torch.float64) * torch.arange(1, 9) + 100
    pca = token_pca(PatchTokens(x, (5, 7)))
    centred = x[0] - x[0].mean(0)
    variances, directions = torch.linalg.eigh(centred.T @ centred)
    expected = (centred @ directions).flip(1)[:, :3]
    assert torch.allclose(pca.scores.abs(), expected.abs(), atol=1e-9)
    assert torch.allclose(pca.shares, variances.flip(0)[:3] / variances.sum())
    largest = pca.scores.gather(0, pca.scores.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


def test_a_known_direction():
    """Tokens on a line: one component, their places on it; the others are nothing."""
    along = torch.tensor([0.0, 1, 2, 3, 4, 10])
    tokens = along[None, :, None] * torch.tensor([0.6, 0.0, 0.8])
    pca = token_pca(PatchTokens(tokens, (2, 3)))
    assert torch.allclose(pca.scores[:, 0], along.double() - along.mean(), atol=1e-6)
    assert torch.allclose(pca.shares, torch.tensor([1.0, 0, 0], dtype=torch.float64), atol=1e-9)
    narrow = token_pca(PatchTokens(tokens[..., :1], (2, 3)))
    assert narrow.scores.shape == (6, 3)
    assert (narrow.scores[:, 1:] == 0).all()


def test_signs_follow_the_layer_before():
    """Layers that differ by noise and by the sign of a component get the same colours."""
    first = token_pca(PatchTokens(torch.randn(1, 16, 6), (4, 4)))
    flipped = first._replace(scores=first.scores * torch.tensor([1.0, -1.0, -1.0]))
    again = flipped._replace(scores=-flipped.scores)
    aligned = align_signs([first, flipped, again])
    for pca in aligned:
        assert torch.equal(pca.scores, first.scores)
    assert align_signs([]) == []


def test_signs_follow_across_grids():
    ramp = torch.linspace(-1, 1, 8, dtype=torch.float64)
    fine = TokenPCA(ramp.repeat(8)[:, None], torch.ones(1), (8, 8))
    coarse = TokenPCA(-ramp[[1, 3, 4, 6]].repeat(4)[:, None], torch.ones(1), (4, 4))
    assert torch.equal(align_signs([fine, coarse])[1].scores, -coarse.scores)


def test_colours_fill_their_range_and_stand_outliers():
    scores = torch.stack([torch.arange(200.0), torch.zeros(200), torch.arange(200.0)], dim=1)
    scores[0, 2] = -1e6
    colours = to_colours(TokenPCA(scores.double(), torch.ones(3), (10, 20)))
    assert colours.min() == 0
    assert colours.max() == 1
    assert (colours[:, 1] == 0.5).all()
    assert np.ptp(colours[2:, 2]) > 0.9
