import io
import re

import cv2
import numpy as np
import pytest
import tifffile
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mmseg_deepvit.datasets.bands import LoadBands, decode_bands
from mmseg_deepvit.datasets.damage import DataError
from mmseg_deepvit.errors import UserError

from .folders import write_any
from .pictures import PICTURE, turned

DEEP = np.random.default_rng(0).integers(0, 4096, (24, 40, 5)).astype(np.uint16)


BYTES = DEEP.astype(np.uint8)
FLOATS = DEEP[..., 0] / np.float32(7)


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def huge():
    """A TIFF of a few bytes whose header promises 20,000² pixels of 16 bits in five bands."""
    data = bytearray(tiff(DEEP, planarconfig="contig", photometric="minisblack"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        for name in ("ImageWidth", "ImageLength"):
            tag = file.pages.first.tags[name]
            data[tag.valueoffset : tag.valueoffset + 2] = (20000).to_bytes(2, "little")
    return bytes(data)


HUGE = huge()


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


@pytest.mark.parametrize(
    ("data", "expected"),
    {
        "16-bit grey PNG": (png(DEEP[..., 0]), DEEP[..., :1]),
        "16-bit RGB PNG": (png(DEEP[..., 2::-1]), DEEP[..., :3]),
        "8-bit RGBA PNG": (
            png(DEEP[..., [2, 1, 0, 3]].astype(np.uint8)),
            DEEP.astype(np.uint8)[..., :4],
        ),
        "16-bit grey TIFF": (tiff(DEEP[..., 0]), DEEP[..., :1]),
        "16-bit RGB TIFF": (tiff(DEEP[..., :3], photometric="rgb"), DEEP[..., :3]),
        "bands pixel by pixel": (tiff(DEEP, planarconfig="contig", photometric="minisblack"), DEEP),
        "bands one after another": (
            tiff(DEEP.transpose(2, 0, 1), planarconfig="separate", photometric="minisblack"),
            DEEP,
        ),
        "bands as pages": (tiff(DEEP.transpose(2, 0, 1), photometric="minisblack"), DEEP),
        "rows as pages": (tiff(DEEP, photometric="minisblack"), DEEP),
        "compressed floats": (tiff(FLOATS, compression="zlib"), FLOATS[..., None]),
        "doubles": (tiff(DEEP[..., 0] / 7), DEEP[..., :1] / 7),
    }.values(),
)
def test_decoding(data, expected):
    decoded = decode_bands(data, "x")
    assert decoded.dtype == expected.dtype
    assert np.array_equal(decoded, expected)


def test_images_are_turned_by_exif():
    decoded = decode_bands(turned("PNG"), "x")
    assert np.array_equal(decoded[..., ::-1], cv2.rotate(PICTURE, cv2.ROTATE_90_CLOCKWISE))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tiff(np.full((9, 9), np.nan, np.float32)), "holds NaN or infinity in 81 values"),
        (tiff(DEEP[..., :2] * 1j), "holds complex"),
        (b"", "is empty"),
        (b"II*\0junk", "cannot be read as TIFF"),
        (b"junk", "is no image"),
        (HUGE, "has more than 715827880 values; cut"),
    ],
)
def test_files_that_would_be_misread(data, said):
    with pytest.raises(UserError, match=said):
        decode_bands(data, "x")


@pytest.mark.parametrize(
    ("bands", "value_range", "expected"),
    [
        ((0, 0, 0), (0, 4095), DEEP[..., [0, 0, 0]] / 4095 * 255),
        ((1,), None, DEEP[..., 1:2]),
        ((4, 2, 0), (100, 355), DEEP[..., [0, 2, 4]] - 100.0),  # R, G, B come as B, G, R
        ((1, 3), [(0, 255), (0, 510)], DEEP[..., [1, 3]] * [1, 0.5]),
    ],
)
def test_bands_and_ranges(tmp_path, bands, value_range, expected):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="contig")
    loaded = LoadBands(bands, value_range)(dict(img_path=str(path)))
    assert loaded["img"].dtype == np.float32
    assert loaded["img_shape"] == loaded["ori_shape"] == (24, 40)
    np.testing.assert_allclose(loaded["img"], expected, rtol=1e-5, atol=1e-3)


def test_photographs_are_no_images_of_16_bits(tmp_path):
    write_any(tmp_path / "x.png", DEEP[..., :3].astype(np.uint8))
    with pytest.raises(DataError, match=r"x\.png holds 8 bits, .* reaches 4095; give a file like"):
        LoadBands((0, 1, 2), (0, 4095))(dict(img_path=str(tmp_path / "x.png")))


def test_bad_settings(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", DEEP[..., 0])
    with pytest.raises(UserError, match="has 1 bands, and band 2 is asked for"):
        LoadBands((2,))(dict(img_path=str(tmp_path / "x.tif")))
    with pytest.raises(ValueError, match="bands must be"):
        LoadBands(())
    for wrong in [(5, 5), [(0, 1), (0, 1)], 7]:
        with pytest.raises(ValueError, match=re.escape("(low, high)")):
            LoadBands((0,), wrong)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_mmseg_transforms_take_any_number_of_bands(tmp_path, count):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="contig")
    steps = [
        dict(type="LoadBands", bands=range(count)),
        dict(type="Resize", scale=(80, 48), keep_ratio=True),
        dict(type="RandomCrop", crop_size=(32, 32)),
        dict(type="RandomFlip", prob=1.0),
        dict(type="PackSegInputs"),
    ]
    init_default_scope("mmseg")
    results = Compose(steps)(dict(img_path=str(path), seg_fields=[]))
    assert results["inputs"].shape == (count, 32, 32)
