import cv2
import numpy as np
import pytest

from mmseg_deepvit.inference import draw_overlay, is_palette, write_png
from mmseg_deepvit.label_pictures import as_picture, write_jpeg

CLASSES = ("background", "lesion", "hair")
PALETTE = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]


def picture(labels, opacity=0.5, grey=100):
    image = np.full((*labels.shape, 3), grey, np.uint8)
    return draw_overlay(image, labels, CLASSES, PALETTE, opacity)


def test_paint_is_blended_and_black_left_out():
    labels = np.zeros((300, 300), np.int64)
    labels[100:200, 50:150] = 1
    out = picture(labels, 0.5)
    assert out[150, 100].tolist() == [50, 50, 178]  # BGR: half way to red
    assert out[20, 20].tolist() == [100, 100, 100]
    assert out[100, 100].tolist() == [255, 255, 255]  # the border of the class
    assert out.shape[0] == 300
    assert out.shape[1] > 300


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_opacity(opacity):
    out = picture(np.full((256, 256), 2), opacity)
    assert out[128, 128].tolist() == [[100, 100, 100], [255, 0, 0]][int(opacity)]


def test_the_legend_lists_what_occurs_largest_first():
    labels = np.zeros((256, 256), np.int64)
    labels[:200] = 2
    legend = picture(labels)[:, 256:]
    swatches = [legend[8 + 4 + 22 * row + 7, 15].tolist() for row in range(2)]
    assert swatches == [[255, 0, 0], [0, 0, 0]]
    assert (legend[60:] == 255).all(), "a third row"


def test_ignored_pixels_are_left_alone():
    labels = np.full((256, 256), 255, np.uint8)
    assert picture(labels)[128, 128].tolist() == [100, 100, 100]


@pytest.mark.parametrize("size", [(1, 1), (20, 500), (256, 10)])
def test_small_images_are_enlarged(size):
    out = picture(np.zeros(size, np.int64))
    assert min(out.shape[0], out.shape[1]) >= 256


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"\(4, 4\).*\(5, 4\)"):
        draw_overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4), int), CLASSES, PALETTE)


def test_jpegs_have_their_quality(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8).repeat(3, 2)
    errors = []
    for quality in (10, 90):
        write_jpeg(tmp_path / f"{quality}.jpg", image, quality)
        read = cv2.imread(str(tmp_path / f"{quality}.jpg")).astype(float)
        errors.append(np.abs(read - image).mean())
    assert errors[1] < errors[0] / 2
    assert (tmp_path / "10.jpg").stat().st_size < (tmp_path / "90.jpg").stat().st_size / 2


def test_write_png_is_whole_or_not_at_all(tmp_path, monkeypatch):
    labels = np.arange(6, dtype=np.uint16).reshape(2, 3) * 300
    write_png(tmp_path / "a.png", labels)
    read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read, labels)

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[:10])
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_png(tmp_path / "a.png", labels + 1)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), labels)


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (PALETTE, True),
        (np.array(PALETTE), True),
        ([[0, 0, 0], [1, 2]], False),
        ([[0, 0], [1, 2]], False),
        ([[0, 0, 256]], False),
        ([[0, 0, -1]], False),
        ([["red"] * 3], False),
        (5, False),
        ([], False),
    ],
)
def test_what_a_palette_is(value, valid):
    assert is_palette(value) == valid


def test_without_legend_the_picture_has_the_images_size():
    image, labels = np.full((5, 7, 3), 100, np.uint8), np.zeros((5, 7), np.uint8)
    labels[2:, 3:] = 1
    painted = draw_overlay(image, labels, ["a", "b"], [[0, 0, 0], [200, 0, 0]], legend=False)
    assert painted.shape == (5, 7, 3)
    assert painted[4, 6].tolist() == [50, 50, 150]
    assert painted[0, 0].tolist() == [100] * 3


def test_pictures_for_the_eye():
    """Three channels of bytes stay; one or two are grey, of more the first three are R, G, B."""
    plain = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(as_picture(plain), plain)
    values = np.linspace(-50, 300, 40, dtype=np.float32).reshape(2, 4, 5)
    grey = as_picture(values[..., :1])
    assert np.array_equal(grey[..., 0], values[..., 0].clip(0, 255).astype(np.uint8))
    assert np.array_equal(as_picture(values[..., 0]), grey)
    assert np.array_equal(as_picture(values[..., :2]), grey)
    assert np.array_equal(as_picture(values)[..., 2], grey[..., 0])
