import base64

import cv2
import numpy as np
import pytest
from matplotlib import colormaps

from mmseg_deepvit.analysis.attention_pictures import Scale
from mmseg_deepvit.explorer import pictures
from mmseg_deepvit.explorer.views import View


@pytest.fixture(scope="module")
def view(deepvit, image):
    return View.open(deepvit[0], image, "photo.png")


def decode(uri):
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_the_point_begins_at_the_centre_and_moves(view):
    assert view.point == (30, 20)
    assert view.patch == (2, 2)
    moved = view.move((59, 0))
    assert moved.look is view.look
    assert moved.patch == (0, 3)
    assert not np.array_equal(moved.rows[0].probabilities, view.rows[0].probabilities)
    assert view.point == (30, 20)


def test_each_block_is_drawn_once(view):
    assert view.num_blocks == 3
    first = view.draw(0)
    assert view.draw(0) is first
    assert view.move((0, 0)).draw(0) is not first
    assert len(first.before.pictures) == 2
    assert first.after is None
    mixed = view.draw(2)
    assert len(mixed.after.pictures) == 2
    assert mixed.layer == "blocks.2"
    assert mixed.after.low == -mixed.after.high
    assert decode(mixed.tokens).shape[1] == decode(mixed.after.pictures[1]).shape[1] == 320


def test_maps_have_the_colours_of_the_analysis(view):
    rows = view.rows[2].probabilities[0, :, view.look.num_prefix :].numpy()
    heads, _ = pictures.draw_heads(view.look, view.rows[2], view.point)
    scene = pictures._small_scene(view.look)
    scale = Scale(colormaps["inferno"], 0.0, heads.high, "P")
    expected = 255 * scale.paint(scene, rows[1])[..., ::-1]
    drawn = decode(heads.pictures[1]).astype(float)
    far = np.ones(drawn.shape[:2], bool)  # from the frame of the patch
    far[60:200, 100:260] = False
    assert np.abs(drawn - expected)[far].mean() < 4  # of 255, for the JPEG


def test_backbones_without_attention_show_their_layers(swin, image):
    view = View.open(swin[0], image, "photo.png")
    assert view.rows is None
    assert view.num_blocks == 4
    drawn = [view.draw(i) for i in range(4)]
    assert [one.layer for one in drawn] == [f"output {i}" for i in range(4)]
    assert {one.before for one in drawn} == {None}


def test_shares_add_up(view):
    shares = view.shares()
    assert sum(share for _, share in shares) == pytest.approx(1)
    lesion = dict(shares).get(1, 0.0)
    assert lesion == pytest.approx((view.look.labels == 1).mean())


@pytest.mark.parametrize(
    ("place", "expected"), [((0, 0), (0, 0)), ((59.9, 39.9), (59, 39)), ((-3, 99), (0, 39))]
)
def test_places_on_the_large_image(view, place, expected):
    assert pictures.point_at(view.look, *place) == expected


def test_the_prediction_is_painted_on_the_image(view):
    plain, painted = (
        decode(uri).astype(int)
        for uri in (pictures.draw_image(view.look), pictures.draw_prediction(view.model, view.look))
    )
    assert plain.shape == painted.shape == (40, 60, 3)
    inside = cv2.erode((view.look.labels == 1).astype(np.uint8), np.ones((3, 3))) == 1
    assert inside.any()
    red = np.array(view.model.palette[1][::-1])
    expected = (plain[inside] + red) / 2
    assert np.abs(painted[inside] - expected).mean() < 12  # of 255, for two JPEGs


def test_the_frame_is_that_of_the_patch(view):
    svg = pictures.frame_svg(view.look, view.point)
    assert svg.count("<rect") == 2
    assert 'x="30.0" y="20.0" width="15.0" height="10.0"' in svg
