"""Image and mask files: those that are read, those that are refused, and no third case."""

import io
import random

import cv2
import mmcv
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image, ImageOps

from mmseg_deepvit.datasets.damage import DataError
from mmseg_deepvit.datasets.decoding import decode_image, decode_mask
from mmseg_deepvit.datasets.headers import exif_orientation
from mmseg_deepvit.datasets.transforms import LoadAnnotations, LoadImageFromFile

from .pictures import (
    BAD,
    BAD_MASKS,
    GOOD,
    GOOD_MASKS,
    LABELS,
    PICTURE,
    by_opencv,
    encode,
    grey_png,
    turned,
)


@pytest.mark.parametrize("kind", list(GOOD))
def test_images_of_every_kind(kind):
    data, most = GOOD[kind]
    image = decode_image(data, "x")
    assert image.dtype == np.uint8
    assert image.shape == PICTURE.shape
    assert np.abs(image.astype(int) - PICTURE).mean() <= most
    np.testing.assert_array_equal(image, mmcv.imfrombytes(data, flag="color", backend="cv2"))


@pytest.mark.parametrize("kind", list(BAD))
def test_images_that_are_refused(kind):
    data, said = BAD[kind]
    with pytest.raises(DataError, match=f"^folder/x.jpg {said}.*; ") as caught:
        decode_image(data, "folder/x.jpg")
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value), "addresses in memory tell nothing"


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (20000, 10), (10, 20000)])
def test_images_of_odd_shapes(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(by_opencv(image, ".png"), "x"), image)
    labels = image[..., 0]
    np.testing.assert_array_equal(decode_mask(by_opencv(labels, ".png"), "x"), labels)


def test_black_and_white():
    grey = PICTURE[..., 0]
    data = encode(Image.fromarray(grey > 99), "PNG")
    np.testing.assert_array_equal(decode_image(data, "x")[..., 1], (grey > 99) * 255)
    np.testing.assert_array_equal(decode_mask(data, "x"), grey > 99)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_images_and_masks_are_turned_by_exif_alike(form, orientation):
    data = turned(form, orientation)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.array(ImageOps.exif_transpose(image).convert("RGB"))[..., ::-1]
    difference = np.abs(decode_image(data, "x").astype(int) - upright)
    assert difference.mean() < 2
    assert exif_orientation(data) == orientation
    if form in ("PNG", "TIFF"):
        data = turned(form, orientation, Image.fromarray(LABELS))
        with Image.open(io.BytesIO(data)) as image:
            upright = np.array(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(decode_mask(data, "x"), upright)


def test_images_turned_by_other_tags_are_refused():
    """Decoders disagree about other tags."""
    data = turned("AVIF", 3)
    for decode in (decode_image, decode_mask):
        with pytest.raises(DataError, match=r"x is turned by a tag of AVIF.*; save it upright"):
            decode(data, "x")


@pytest.mark.parametrize("backend", ["pillow", "cv2"])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_read_as_written(bits, backend):
    labels = LABELS % 2**bits
    np.testing.assert_array_equal(decode_mask(grey_png(labels, bits), "x", backend), labels)


@pytest.mark.parametrize("kind", list(GOOD_MASKS))
def test_masks_of_every_kind(kind):
    expected = np.full_like(LABELS, 255) if kind == "all ignored" else LABELS
    labels = decode_mask(GOOD_MASKS[kind], "x")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("kind", list(BAD_MASKS))
def test_masks_that_are_refused(kind):
    data, said = BAD_MASKS[kind]
    with pytest.raises(DataError, match=f"^folder/x.png .*{said}.*; ") as caught:
        decode_mask(data, "folder/x.png")
    assert "\n" not in str(caught.value)


def decoded(decode, data):
    """Decode, or return None for a refusal; another error fails the test."""
    try:
        return decode(data, "x")
    except DataError as error:
        said = str(error)
    assert said.startswith("x ")
    assert "\n" not in said
    return None


CODED = {kind: (data, decode_image) for kind, (data, _) in GOOD.items()}
CODED["label map"] = (GOOD_MASKS["grey"], decode_mask)


@pytest.mark.parametrize("kind", CODED)
def test_cut_off_at_many_places(kind):
    """Half a picture is never taken for a full one."""
    data, decode = CODED[kind]
    full = decode(data, "x")
    lengths = [*range(20), *random.Random(0).sample(range(len(data)), 60), len(data) - 1]
    for length in lengths:
        image = decoded(decode, data[:length])
        assert image is None or np.array_equal(image, full), f"{length} of {len(data)} bytes"


@pytest.mark.parametrize("kind", CODED)
def test_turned_bits(kind):
    """Checksums find every one in a PNG; other formats may give a picture or a refusal."""
    data, decode = CODED[kind]
    full = decode(data, "x")
    places = random.Random(1)
    for _ in range(60):
        turned_data = bytearray(data)
        for _ in range(places.choice((1, 1, 20))):
            turned_data[places.randrange(len(data))] ^= 1 << places.randrange(8)
        image = decoded(decode, bytes(turned_data))
        if data.startswith(b"\x89PNG"):
            assert image is None or np.array_equal(image, full)
        elif image is not None:
            assert image.dtype == np.uint8
            assert image.ndim == full.ndim


@pytest.mark.parametrize("seed", range(40))
def test_noise_after_a_magic_number(seed):
    magic = [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"GIF89a"]
    magic += [b"RIFF\0\1\0\0WEBPVP8 ", b"P6\n9 9\n255\n", b"\0\0\0\x0cjP  \r\n\x87\n"]
    magic += [b"\x76\x2f1\1"]
    noise = np.random.default_rng(seed).bytes(300)
    for decode in (decode_image, decode_mask):
        image = decoded(decode, magic[seed % len(magic)] + noise)
        assert image is None or image.size < 1e6


def load(tmp_path, image, mask, **info):
    """Write a pair and load it by the transforms."""
    (tmp_path / "a.jpg").write_bytes(image)
    (tmp_path / "a.png").write_bytes(mask)
    results = dict(img_path=str(tmp_path / "a.jpg"), seg_map_path=str(tmp_path / "a.png"))
    results.update(reduce_zero_label=False, seg_fields=[])
    for transform in ("LoadImageFromFile", "LoadAnnotations"):
        results = TRANSFORMS.build(dict(type=transform))({**results, **info})
    return results


def test_the_names_that_configs_use_are_ours():
    assert TRANSFORMS.get("LoadImageFromFile") is LoadImageFromFile
    assert TRANSFORMS.get("LoadAnnotations") is LoadAnnotations


@pytest.mark.parametrize("reduce", [False, True])
@pytest.mark.parametrize("label_map", [None, {1: 0, 2: 255, 0: 3}])
def test_labels_come_as_by_mmseg(tmp_path, reduce, label_map):
    import mmseg.datasets.transforms as theirs

    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = by_opencv(np.zeros((16, 16, 3), np.uint8), ".png")
    info = dict(reduce_zero_label=reduce, label_map=label_map)
    loaded = load(tmp_path, picture, by_opencv(labels, ".png"), **info)
    expected = theirs.LoadAnnotations()({**loaded, "seg_fields": []})
    np.testing.assert_array_equal(loaded["gt_seg_map"], expected["gt_seg_map"])
    assert loaded["seg_fields"] == ["gt_seg_map"]
    assert loaded["ori_shape"] == (16, 16)
    with pytest.raises(ValueError, match="reduce_zero_label"):
        LoadAnnotations(reduce_zero_label=not reduce)({**loaded, "seg_fields": []})


def test_both_files_are_named_where_sizes_differ(tmp_path):
    small = by_opencv(LABELS[1:], ".png")
    with pytest.raises(DataError, match=r"a\.png is 39×56 .* image .*a\.jpg 40×56; replace"):
        load(tmp_path, GOOD["JPEG"][0], small)
    with pytest.raises(DataError, match=r"a\.png is 40×56 .* image .*a\.jpg 56×40; .*EXIF"):
        load(tmp_path, turned("JPEG"), GOOD_MASKS["grey"])
    turned_mask = by_opencv(np.rot90(LABELS, 3).copy(), ".png")
    loaded = load(tmp_path, turned("JPEG"), turned_mask)
    assert loaded["img"].shape[:2] == loaded["gt_seg_map"].shape


@pytest.mark.parametrize(
    ("image", "mask", "side"),
    [(3, 1, None), (1, 3, None), (6, 8, None), (2, 4, None), (6, 1, 40), (1, 8, 40)],
)
def test_one_sided_turns_that_sizes_do_not_tell_are_refused(tmp_path, image, mask, side):
    """A mask may have been drawn before or after its image was turned."""
    pixels = Image.fromarray(PICTURE[:, :side])
    labels = Image.fromarray(LABELS[:, :side])
    said = rf"a\.png has EXIF orientation {mask} and its image .*a\.jpg has {image}; save both"
    with pytest.raises(DataError, match=said):
        load(tmp_path, turned("JPEG", image, pixels), turned("PNG", mask, labels))
    both = load(tmp_path, turned("JPEG", image, pixels), turned("PNG", image, labels))
    assert both["img"].shape[:2] == both["gt_seg_map"].shape


@pytest.mark.parametrize("transform", [LoadImageFromFile, LoadAnnotations])
def test_paths_that_are_no_file(tmp_path, transform):
    (tmp_path / "folder.jpg").mkdir()
    for name, said in (("folder.jpg", "cannot be opened"), ("nowhere.jpg", "does not exist")):
        path = str(tmp_path / name)
        info = dict(img_path=path, seg_map_path=path, reduce_zero_label=False, seg_fields=[])
        with pytest.raises(DataError, match=f"{name} {said}"):
            transform()(info)


def test_other_ways_to_decode_are_mmcvs(tmp_path):
    (tmp_path / "a.png").write_bytes(BAD["16 bits"][0])
    loader = LoadImageFromFile(color_type="unchanged", to_float32=True)
    loaded = loader(dict(img_path=str(tmp_path / "a.png")))["img"]
    assert loaded.max() > 255
    assert np.array_equal(loader.decode(BAD["16 bits"][0], "a.png"), loaded)
    with pytest.raises(DataError, match=r"a\.png (is no image|cannot be read)"):
        loader.decode(b"text", "a.png")
    (tmp_path / "a.png").write_bytes(b"text")
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        loader(dict(img_path=str(tmp_path / "a.png")))
    assert LoadImageFromFile(ignore_empty=True)(dict(img_path="nowhere.png")) is None
    floats = LoadImageFromFile(to_float32=True)
    cv2.imwrite(str(tmp_path / "a.png"), PICTURE)
    assert floats(dict(img_path=str(tmp_path / "a.png")))["img"].dtype == np.float32
