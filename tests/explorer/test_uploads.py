import cv2
import numpy as np
import pytest

from mmseg_deepvit.datasets.damage import DataError
from mmseg_deepvit.datasets.decoding import decode_image
from mmseg_deepvit.explorer import uploads

GOOD = cv2.imencode(".png", np.full((8, 9, 3), 7, np.uint8))[1].tobytes()


def test_an_image_is_decoded():
    image = uploads.read_upload(GOOD, "photo.png", decode_image)
    assert image.shape == (8, 9, 3)
    assert (image == 7).all()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", r"photo\.png is empty; choose another file"),
        (b"just text", r"photo\.png is no image, or a damaged one; replace"),
        (GOOD[:-20], r"photo\.png .*; replace the file"),
        (
            cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes(),
            r"photo\.png holds uint16 .* 8 bits a channel; scale",
        ),
        (bytes(uploads.MOST_BYTES + 2**20), r"photo\.png has 65 MiB, .* at most 64; scale"),
    ],
)
def test_what_is_no_such_image_is_refused(data, said):
    with pytest.raises(DataError, match=said):
        uploads.read_upload(data, "photo.png", decode_image)


@pytest.mark.parametrize(
    ("shape", "classes", "expected"),
    [
        ((100, 200), 2, (100, 200)),
        ((1000, 4096), 2, (500, 2048)),  # by its side
        ((2048, 2048), 128, (1024, 1024)),  # by the logits
        ((1, 5000), 2, (1, 2048)),
    ],
)
@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (1, np.float32), (5, np.float32)])
def test_large_images_are_scaled_down(shape, classes, expected, channels, dtype):
    image = np.broadcast_to(np.arange(1, channels + 1, dtype=dtype), (*shape, channels))
    small = uploads.shrink(image, classes)
    assert small.shape == (*expected, channels)
    assert small.dtype == dtype
    np.testing.assert_allclose(small, np.broadcast_to(image[:1, :1], small.shape), rtol=1e-6)
    assert (small is image) == (shape == expected)
