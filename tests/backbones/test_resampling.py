import pytest
import torch
import torch.nn.functional as F

from mmseg_deepvit.backbones.resampling import resampling_weights


@pytest.mark.parametrize(("old", "new"), [(14, 14), (14, 9), (14, 31), (7, 2), (1, 5), (24, 1)])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("antialias", [False, True])
def test_is_pytorchs_resizing(antialias, mode, old, new):
    x = torch.randn(1, 3, old, old, dtype=torch.float64)
    smooth = mode != "nearest"
    expected = F.interpolate(
        x,
        (new, new),
        mode=mode,
        align_corners=False if smooth else None,
        antialias=antialias and smooth,
    )
    weights = resampling_weights(old, new, mode, x, antialias)
    torch.testing.assert_close(weights @ x @ weights.T, expected, rtol=0, atol=1e-12)
