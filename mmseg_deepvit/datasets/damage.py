"""Files of a data set that training must not use, and errors of one line that name them.

Decoders accept such files in silence: OpenCV before 5 fills a cut JPEG with grey, Pillow ignores a
PNG's checksums. Changed bits within a JPEG cannot be detected.
"""

from __future__ import annotations

import zlib

import numpy as np

from ..errors import UserError

#: Kinds of damage, as the checking of data sets sorts them.
UNREADABLE = "unreadable"
SIZES_DIFFER = "sizes differ"
NO_CLASS = "labels outside the classes"
TURNED = "turned by EXIF"

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"  # first bytes of such files


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


def check_whole(data: bytes, path: str) -> None:
    """Raise a :class:`DataError` for an empty file, a JPEG or PNG cut off, or a changed PNG."""
    if not data:
        raise data_error(path, "is empty", "replace the file")
    damage = None
    if data.startswith(JPEG) and not _jpeg_ends(data):
        damage = "is cut off"
    elif data.startswith(PNG):
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
    at = len(PNG)
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
