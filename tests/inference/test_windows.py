import pytest
import torch

from mmseg_deepvit.inference.windows import find_windows, window_weights


def test_windows_cover_the_image_and_stay_in_it():
    windows = find_windows((70, 33), (32, 32), (24, 20))
    corners = [(top, left) for top in (0, 24, 38) for left in (0, 1)]
    assert list(windows) == [(top, left, top + 32, left + 32) for top, left in corners]


def test_weights():
    assert torch.equal(window_weights("constant", (5, 7)), torch.ones(1, 1))
    weights = window_weights("gaussian", (33, 65))
    assert weights.shape == (33, 65)
    assert weights.max() == weights[16, 32] == 1
    assert weights.min() == weights[0, 0] == pytest.approx(1e-3)
    torch.testing.assert_close(weights, weights.flip(0, 1))
    # One standard deviation, an eighth of the side, from the middle.
    assert window_weights("gaussian", (65, 9))[32 + 8, 4] == pytest.approx(0.61, abs=0.01)
    with pytest.raises(ValueError, match=r"must be 'constant' or 'gaussian', got 'hann'"):
        window_weights("hann", (3, 3))
