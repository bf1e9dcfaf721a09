"""Encoded images of every kind that people put into folders."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)
#: A smooth picture, (40, 56, 3), BGR, that formats with loss keep nearly as it is.
PICTURE = cv2.resize(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8), (56, 40))
RGB = Image.fromarray(PICTURE[..., ::-1].copy())
LABELS = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3), np.ones((20, 19), np.uint8))[:, :56]


def encode(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def by_opencv(array, ending):
    return cv2.imencode(ending, array)[1].tobytes()


def turned(form, orientation=6, image=RGB):
    exif = Image.Exif()
    exif[0x112] = orientation
    return encode(image, form, exif=exif)


def with_thumbnail(data):
    """A JPEG with another, complete one in its header, as cameras write."""
    small = encode(RGB.resize((8, 8)), "JPEG")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + data[2:]


def with_page_of_reduced_size():
    pages = io.BytesIO()
    RGB.save(pages, "TIFF", save_all=True, append_images=[RGB.resize((8, 8))])
    with Image.open(pages) as image:
        image.seek(1)
    data = bytearray(pages.getvalue())
    second = int.from_bytes(data[4:8], "little")
    second += 2 + 12 * int.from_bytes(data[second : second + 2], "little")
    at = int.from_bytes(data[second : second + 4], "little")
    # The first tag of the second page becomes NewSubfileType, reduced.
    data[at + 2 : at + 14] = struct.pack("<HHII", 254, 4, 1, 1)
    return bytes(data)


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png_header(width, height, depth=8, colour=2):
    content = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", content)


#: Content of files of the picture, and limit of the mean difference by rounding and loss.
GOOD = {
    "JPEG": (encode(RGB, "JPEG", quality=95), 4),
    "progressive JPEG": (encode(RGB, "JPEG", quality=95, progressive=True), 4),
    "JPEG with a thumbnail": (with_thumbnail(encode(RGB, "JPEG", quality=95)), 4),
    "JPEG with notes after its end": (encode(RGB, "JPEG", quality=95) + b"notes\xff", 4),
    "CMYK JPEG": (encode(RGB.convert("CMYK"), "JPEG", quality=95), 5),
    "two pictures of a phone": (encode(RGB, "MPO", save_all=True, append_images=[RGB]), 6),
    "PNG": (encode(RGB, "PNG"), 0),
    "interlaced PNG": (by_opencv(PICTURE, ".png"), 0),
    "PNG with transparency": (encode(RGB.convert("RGBA"), "PNG"), 0),
    "PNG with notes after its end": (encode(RGB, "PNG") + b"notes", 0),
    "palette": (encode(RGB.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), 8),
    "one frame of a GIF": (encode(RGB.convert("P", palette=Image.Palette.ADAPTIVE), "GIF"), 8),
    "BMP": (encode(RGB, "BMP"), 0),
    "TIFF": (encode(RGB, "TIFF"), 0),
    "compressed TIFF": (encode(RGB, "TIFF", compression="tiff_lzw"), 0),
    "TIFF with a small copy": (with_page_of_reduced_size(), 0),
    "WEBP": (encode(RGB, "WEBP", lossless=True), 0),
    "PPM": (encode(RGB, "PPM"), 0),
}
#: Content, and the cause in the error.
BAD = {
    "nothing": (b"", "is empty"),
    "text": (b"not an image at all\n" * 9, "is no image"),
    "zeros": (bytes(999), "is no image"),
    "web page": (b"<!doctype html><html></html>", "is no image"),
    "vector graphics": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no image"),
    "PDF": (b"%PDF-1.4\n%%EOF", "is no image"),
    "cut JPEG": (GOOD["JPEG"][0][:-100], "is cut off"),
    "cut progressive JPEG": (GOOD["progressive JPEG"][0][:-100], "is cut off"),
    "cut JPEG with a thumbnail": (GOOD["JPEG with a thumbnail"][0][:-100], "is cut off"),
    "JPEG's start": (b"\xff\xd8\xff", "is cut off"),
    "cut PNG": (GOOD["PNG"][0][:-100], "is cut off"),
    "PNG without its end": (GOOD["PNG"][0][:-12], "is cut off"),
    "PNG's start": (GOOD["PNG"][0][:8], "is cut off"),
    "PNG with a turned bit": (
        GOOD["PNG"][0][:200] + bytes([GOOD["PNG"][0][200] ^ 4]) + GOOD["PNG"][0][201:],
        "is damaged",
    ),
    "PNG without pixels": (png_header(9, 9) + chunk(b"IEND", b""), "is no image"),
    "PNG of no width": (png_header(0, 9) + chunk(b"IEND", b""), "is no image"),
    "PNG that promises too much": (
        png_header(60000, 60000) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""),
        "has more than 178956970 pixels",
    ),
    "cut BMP": (GOOD["BMP"][0][:-100], "is no image"),
    "cut TIFF": (GOOD["TIFF"][0][:400], "is no image"),
    "cut WEBP": (GOOD["WEBP"][0][:-100], "is no image"),
    "cut PPM": (GOOD["PPM"][0][:-100], "is no image"),
    "16 bits": (by_opencv(PICTURE.astype(np.uint16) * 257, ".png"), "holds uint16"),
    "12 bits in 16": (by_opencv(PICTURE[..., 0].astype(np.uint16) * 16, ".png"), "holds uint16"),
    "TIFF of 16 bits": (by_opencv(PICTURE.astype(np.uint16) * 257, ".tif"), "holds uint16"),
    "TIFF of floats": (by_opencv(PICTURE.astype(np.float32) / 255, ".tif"), "holds float32"),
    "animated GIF": (
        encode(RGB.convert("P"), "GIF", save_all=True, append_images=[RGB.rotate(90).convert("P")]),
        "holds 2 pages or frames",
    ),
    "pages of a TIFF": (
        encode(RGB, "TIFF", save_all=True, append_images=[RGB, RGB.rotate(90)]),
        "holds 3 pages or frames",
    ),
    "animated WEBP": (
        encode(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(90)]),
        "holds 2 pages or frames",
    ),
    "animated PNG": (
        encode(RGB, "PNG", save_all=True, append_images=[RGB.rotate(90)]),
        "holds 2 pages or frames",
    ),
}


def label_png(array, mode=None):
    image = Image.fromarray(array)
    return encode(image.convert(mode) if mode else image, "PNG")


def palette_png(array):
    image = Image.fromarray(array, "P")
    image.putpalette([v for i in range(256) for v in (i, 255 - i, i)])
    return encode(image, "PNG")


def grey_png(labels, bits):
    """Grey of 1 to 8 bits a pixel, as some annotation tools write it."""
    places = 2 ** np.arange(bits)[::-1]
    rows = np.packbits((labels[..., None] & places > 0).reshape(len(labels), -1), axis=1)
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)
    header = png_header(labels.shape[1], labels.shape[0], bits, 0)
    return header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def pgm(labels, largest, kind=np.uint8):
    height, width = labels.shape
    return f"P5 {width} {height} {largest}\n".encode() + labels.astype(kind).tobytes()


GOOD_MASKS = {
    "grey of 4 bits": grey_png(LABELS, 4),
    "PGM up to 5": pgm(LABELS, 5),
    "PGM up to 1000": pgm(LABELS, 1000, ">u2"),
    "grey": label_png(LABELS),
    "palette": palette_png(LABELS),
    "16 bits with small labels": by_opencv(LABELS.astype(np.uint16), ".png"),
    "TIFF": encode(Image.fromarray(LABELS), "TIFF"),
    "BMP": encode(Image.fromarray(LABELS), "BMP"),
    "all ignored": label_png(np.full_like(LABELS, 255)),
}
BAD_MASKS = {
    **{k: BAD[k] for k in ("nothing", "text", "zeros", "cut PNG", "PNG with a turned bit")},
    **{k: BAD[k] for k in ("PNG that promises too much", "pages of a TIFF", "cut TIFF")},
    "colours": (encode(RGB, "PNG"), "has 3 channels"),
    "grey in three channels": (label_png(LABELS, "RGB"), "has 3 channels"),
    "transparent colours": (label_png(LABELS, "RGBA"), "has 4 channels"),
    "transparent grey": (label_png(LABELS, "LA"), "has 2 channels"),
    "16 bits": (by_opencv(LABELS.astype(np.uint16) + 254, ".png"), "holds 256 where labels"),
    "floats": (by_opencv(LABELS.astype(np.float32), ".tif"), "where labels from 0 to 255"),
    "JPEG": (encode(Image.fromarray(LABELS), "JPEG"), "is a JPEG, which changes labels"),
    "JPEG 2000": (
        encode(Image.fromarray(LABELS), "JPEG2000", irreversible=True, quality_layers=[9]),
        "is a JPEG 2000, which changes labels",
    ),
    "JPEG in a TIFF": (
        encode(Image.fromarray(LABELS), "TIFF", compression="jpeg"),
        "is a TIFF compressed by JPEG, which changes labels",
    ),
}
