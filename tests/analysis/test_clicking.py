import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmseg_deepvit.analysis.clicking import click_points
from mmseg_deepvit.errors import UserError

PIXELS = np.zeros((20, 30, 3), np.uint8)


@pytest.fixture(autouse=True)
def _no_window():
    matplotlib.use("agg")


def test_without_a_display():
    with pytest.raises(UserError, match=r"--click needs a display .*: give --points"):
        click_points(PIXELS)


@pytest.mark.parametrize("clicked", [[(3.4, 7.6), (0.0, 19.0)], []])
def test_clicks_are_pixels(clicked, monkeypatch):
    """A window stands in whose user clicks where it is told; the image is shown as it lies."""
    monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "tk")
    seen = []

    def ginput(figure, n, timeout):
        (axes,) = figure.axes
        seen.append(axes.get_images()[0].get_array().shape)
        return clicked

    monkeypatch.setattr(Figure, "ginput", ginput)
    if clicked:
        assert click_points(PIXELS) == [(3, 8), (0, 19)]
    else:
        with pytest.raises(UserError, match="no point was clicked"):
            click_points(PIXELS)
    assert seen == [(20, 30, 3)]
