"""What a file's header tells about its pixels: pages, orientation, compression, range of greys.

Decoders drop further pages, scale small ranges of greys, and each turns by other tags. None of them
says so.
"""

from __future__ import annotations

import io
import re
from typing import NamedTuple

import numpy as np
from PIL import Image

from .damage import data_error

_ORIENTATION = 0x0112  # tag of EXIF and TIFF
#: Formats whose pixels are turned here; decoders turn a TIFF's.
_TURNED_HERE = ("JPEG", "MPO", "PNG", "WEBP")
#: Compressions of a TIFF that change labels.
_LOSSY_TIFF = {"jpeg": "JPEG", "tiff_jpeg": "JPEG", "webp": "WebP"}


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
