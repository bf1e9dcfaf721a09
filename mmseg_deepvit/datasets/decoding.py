"""Decoding of image and mask files; a file that would be misread is an error of one line.

Decoders accept files that training must not: OpenCV before 5 fills a cut JPEG with grey, Pillow
ignores a PNG's checksums, 16 bits are cut to 8, further pages are dropped. None of them says so.
Changed bits within a JPEG cannot be detected.
"""

from __future__ import annotations

import io
import re
import zlib
from typing import NamedTuple

import cv2
import mmcv
import numpy as np
from PIL import Image

from ..errors import UserError

#: Kinds of damage, as the checking of data sets sorts them.
UNREADABLE = "unreadable"
SIZES_DIFFER = "sizes differ"
NO_CLASS = "labels outside the classes"
TURNED = "turned by EXIF"

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112  # tag of EXIF and TIFF
#: Formats whose pixels are turned here; decoders turn a TIFF's.
_TURNED_HERE = ("JPEG", "MPO", "PNG", "WEBP")
#: Compressions of a TIFF that change labels.
_LOSSY_TIFF = {"jpeg": "JPEG", "tiff_jpeg": "JPEG", "webp": "WebP"}


class DataError(UserError):
    """A file of a data set that cannot be used.

    Args:
        message: One line with the file, the cause and the remedy.
        kind: One of the kinds above.
        said: The cause alone.
    """

    def __init__(self, message: str, kind: str = UNREADABLE, said: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.said = said


def data_error(path: str, said: str, remedy: str, kind: str = UNREADABLE) -> DataError:
    """Make the error of a file from its path, the cause and the remedy."""
    return DataError(f"{path} {said}; {remedy}", kind, said)


class Header(NamedTuple):
    """Facts about the pixels of a file.

    Attributes:
        lossy: Name of a compression that may have changed labels, or empty.
        orientation: Orientation of EXIF, 1 to 8; 1 is upright.
        turns: Whether the decoded pixels must still be turned.
        grey: Largest value of a pixel as written and as Pillow scales it; None without scaling.
    """

    lossy: str = ""
    orientation: int = 1
    turns: bool = False
    grey: tuple[int, int] | None = None


def exif_orientation(data: bytes) -> int:
    """Read from a file's content how its image must be turned, by EXIF or a TIFF's tag.

    Returns:
        Orientation of EXIF, 1 (upright) to 8; 1 if the file has none.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _orientation(image, data)
    except Exception:  # decoding reports the damage
        return 1


def decode_image(data: bytes, path: str) -> np.ndarray:
    """Decode an image as mmseg's training does, or refuse it.

    Args:
        data: Content of the file.
        path: Path of the file, for errors.

    Returns:
        (H, W, 3), uint8, BGR, turned upright by EXIF; transparency is dropped, grey repeated.

    Raises:
        DataError: The file is no image or cut off, or has more than one page, 8 bits a channel or
            179 million pixels.
    """
    check_whole(data, path)
    header = check_header(data, path)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise data_error(path, f"cannot be decoded ({error.err})", "replace the file") from error
    if image is None:
        raise data_error(path, "is no image, or a damaged one", "replace the file")
    if image.dtype != np.uint8:
        raise data_error(
            path,
            f"holds {image.dtype} and models take 8 bits a channel",
            "scale it from its own range to 0 to 255",
        )
    return turn(image, header.orientation) if header.turns else image


def decode_mask(data: bytes, path: str, backend: str = "pillow") -> np.ndarray:
    """Decode a label map.

    Args:
        data: Content of the file.
        path: Path of the file, for errors.
        backend: Name of mmcv's decoder.

    Returns:
        Labels as written in the file (indices of a palette), (H, W), uint8, turned upright by EXIF.

    Raises:
        DataError: The file is no label map, or has labels outside 0 to 255.
    """
    labels = decode_written(data, path, backend)
    if labels.ndim != 2:
        said = f"has {labels.shape[-1]} channels where one is expected"
        raise data_error(path, said, "save the mask as class indices, not as colours", NO_CLASS)
    outside = (labels < 0) | (labels > 255)
    if labels.dtype.kind not in "biu" or outside.any():
        worst = labels[outside][0] if outside.any() else labels.dtype
        raise data_error(
            path,
            f"holds {worst} where labels from 0 to 255 are expected",
            "save the mask with 8 bits",
            NO_CLASS,
        )
    return labels.astype(np.uint8)


def decode_written(data: bytes, path: str, backend: str = "pillow") -> np.ndarray:
    """Decode a mask into what is written in it: values, indices of a palette, or colours.

    Args:
        data: Content of the file.
        path: Path of the file, for errors.
        backend: Name of mmcv's decoder.

    Returns:
        (H, W), or (H, W, C) with C > 1 and colours as B, G, R; of any type, turned upright by EXIF.

    Raises:
        DataError: The file is no image, or its compression may have changed labels.
    """
    if data.startswith(_JPEG):
        raise _lossy_error(path, "JPEG")
    check_whole(data, path)
    header = check_header(data, path)
    if header.lossy:
        raise _lossy_error(path, header.lossy)
    if header.grey:
        backend = "pillow"  # others scale such values too, each in another way
    try:
        labels: np.ndarray | None = mmcv.imfrombytes(data, flag="unchanged", backend=backend)
    except Exception as error:  # Pillow's decoders raise SyntaxError, struct.error and more
        raise data_error(path, "is no image, or a damaged one", "replace the file") from error
    if labels is None:
        raise data_error(path, "is no image, or a damaged one", "replace the file")
    if labels.ndim == 3 and labels.shape[2] == 1:
        labels = labels[..., 0]
    if header.grey:
        written, decoded = header.grey
        labels = np.rint(labels * (written / decoded)).astype(np.int64)
    return turn(labels, header.orientation) if header.turns else labels


def decode_colours(data: bytes, path: str) -> np.ndarray:
    """Decode a mask into colours, those of its palette where it has one.

    Args:
        data: Content of the file.
        path: Path of the file, for errors.

    Returns:
        (H, W, 3), uint8, RGB, turned upright by EXIF; transparency is dropped.

    Raises:
        DataError: The file is no image of 8 bits, or its compression may have changed colours.
    """
    pixels = decode_written(data, path)
    if pixels.ndim == 2 and (palette := _palette(data)) is not None:
        colours: np.ndarray = palette[pixels]
        return colours
    if pixels.dtype.kind == "b":
        pixels = pixels * np.uint8(255)
    if pixels.dtype != np.uint8:
        said = f"holds {pixels.dtype} where colours are expected"
        raise data_error(path, said, "save the mask with 8 bits a channel", NO_CLASS)
    if pixels.ndim == 2 or pixels.shape[2] == 2:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], -1)[..., :1], 3, axis=2)
    return np.ascontiguousarray(pixels[..., 2::-1])


def _palette(data: bytes) -> np.ndarray | None:
    """RGB of each index, (256, 3), uint8; None if the file has no palette."""
    with Image.open(io.BytesIO(data)) as image:
        colours = image.getpalette("RGB") if image.mode == "P" else None
    if colours is None:
        return None
    filled = np.zeros((256, 3), dtype=np.uint8)
    filled[: len(colours) // 3] = np.reshape(colours, (-1, 3))
    return filled


def _lossy_error(path: str, compression: str) -> DataError:
    said = f"is a {compression}, which changes labels"
    return data_error(path, said, "save the mask as PNG", NO_CLASS)


def check_same_size(
    mask: np.ndarray, mask_path: str, size: tuple[int, int], image_path: str
) -> None:
    """Raise a :class:`DataError` unless a mask, (H, W), has the height and width of its image."""
    height, width = size
    if mask.shape == (height, width):
        return
    by = "×".join(map(str, mask.shape))
    turned = mask.shape == (width, height)
    hint = "turn it as EXIF turns the image, or replace it" if turned else "replace it"
    raise DataError(
        f"mask {mask_path} is {by} (height×width) and its image {image_path} {height}×{width}; "
        f"{hint}",
        SIZES_DIFFER,
        f"mask {by}, image {height}×{width}",
    )


def check_same_turn(
    mask: np.ndarray, mask_path: str, orientations: tuple[int, int], image_path: str
) -> None:
    """Refuse a mask that may not be turned as its image is.

    If EXIF turns only one of the two by a quarter, equal sizes show that both are now upright.
    Squares and half turns show nothing.

    Args:
        mask: Upright mask of its image's size, (H, W).
        mask_path: Path of the mask, for the error.
        orientations: EXIF orientations of the image's file and of the mask's.
        image_path: Path of the image, for the error.

    Raises:
        DataError: The orientations differ, and the size does not tell that both are upright.
    """
    image, own = orientations
    quarter_turns = (image > 4) != (own > 4)
    if image == own or (quarter_turns and mask.shape[0] != mask.shape[1]):
        return
    said = f"has EXIF orientation {own} and its image {image_path} has {image}"
    raise data_error(f"mask {mask_path}", said, "save both upright, without the tag", TURNED)


def check_whole(data: bytes, path: str) -> None:
    """Raise a :class:`DataError` for an empty file, a JPEG or PNG cut off, or a changed PNG."""
    if not data:
        raise data_error(path, "is empty", "replace the file")
    damage = None
    if data.startswith(_JPEG) and not _jpeg_ends(data):
        damage = "is cut off"
    elif data.startswith(_PNG):
        damage = _png_damage(memoryview(data))
    if damage:
        raise data_error(path, damage, "replace the file")


def _jpeg_ends(data: bytes) -> bool:
    """Whether an end marker follows the pixels: thumbnails have one too, cameras write more."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:  # pixels; among them 0xFF only begins a marker
            return data.find(b"\xff\xd9", at) >= 0
        if marker == 0xFF:  # padding
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without content
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at + 4 <= len(data) and b"\xff\xd9" in data[at:]


def _png_damage(data: memoryview) -> str | None:
    """Find damage in a PNG by the lengths and checksums of its chunks; None if there is none."""
    at = len(_PNG)
    while at + 12 <= len(data):
        kind = bytes(data[at + 4 : at + 8])
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        needed = 65 <= kind[0] <= 90  # a capital letter: decoders may not skip the chunk
        written = int.from_bytes(data[end - 4 : end], "big")
        if needed and zlib.crc32(data[at + 4 : end - 4]) != written:
            return f"is damaged (the checksum of {kind.decode('latin-1')} is wrong)"
        if kind == b"IEND":
            return None
        at = end
    return "is cut off"


def check_header(data: bytes, path: str) -> Header:
    """Read a file's header; :class:`DataError` for several pages or too many pixels."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            form, header = image.format, _read_header(image, data)
            frames = _num_frames(image)
    except Image.DecompressionBombError as error:
        said = f"has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels"
        raise data_error(path, said, "cut it into tiles") from error
    except Exception:  # Pillow raises errors of any type; OpenCV may know the format
        return Header()
    if frames > 1:
        said = f"holds {frames} pages or frames"
        raise data_error(path, said, "save the right one as a separate file")
    if header.orientation != 1 and form not in (*_TURNED_HERE, "TIFF"):
        raise data_error(
            path, f"is turned by a tag of {form}, not by its pixels", "save it upright"
        )
    return header


def _read_header(image: Image.Image, data: bytes) -> Header:
    lossy = ""
    if image.format == "JPEG2000":  # even lossless coding may be truncated to a file size
        lossy = "JPEG 2000"
    elif image.format == "TIFF":
        compression = _LOSSY_TIFF.get(image.info.get("compression", ""))
        lossy = f"TIFF compressed by {compression}" if compression else ""
    turns = image.format in _TURNED_HERE
    return Header(lossy, _orientation(image, data), turns, _grey_range(image))


def _orientation(image: Image.Image, data: bytes) -> int:
    if image.format == "TIFF":
        said = image.tag_v2.get(_ORIENTATION, 1)  # type: ignore[attr-defined]
    else:
        if image.format == "PNG" and b"eXIf" in data:
            image.load()  # EXIF may follow the pixels
        exif = Image.Exif()
        exif.load(image.info.get("exif", b""))
        said = exif.get(_ORIENTATION, 1)
    return said if said in range(1, 9) else 1


def _grey_range(image: Image.Image) -> tuple[int, int] | None:
    """Largest grey as written and as Pillow decodes it; None if no decoder scales the values."""
    if image.mode == "1":
        return 1, 1
    tiles = getattr(image, "tile", None)
    if not tiles or image.mode not in ("L", "I"):
        return None
    arguments = tiles[0][3]
    mode, *rest = arguments if isinstance(arguments, tuple) else (arguments,)
    if bits := re.match(r"L;([24])", str(mode)):
        return 2 ** int(bits[1]) - 1, 255
    if image.format == "PPM" and rest:
        return int(rest[0]), 255 if image.mode == "L" else 65535
    return None


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels, (H, W) or (H, W, 3), upright from an orientation of EXIF."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _num_frames(image: Image.Image) -> int:
    """Count pages or frames, without the previews of cameras and the smaller copies in a TIFF."""
    if image.format in ("JPEG", "MPO"):
        return 1
    try:
        count: int = getattr(image, "n_frames", 1)
        if image.format != "TIFF" or count == 1:
            return count
        pages = 0
        for i in range(count):
            image.seek(i)
            pages += not int(image.tag_v2.get(254, 0)) & 1  # type: ignore[attr-defined]
        return pages
    except Exception:  # a damaged file; decoding reports it
        return 1
