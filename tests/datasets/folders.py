"""Folders of images and masks as people have them, made up."""

import cv2
import numpy as np
import tifffile


def write_any(path, pixels):
    """Write a file with its folders; TIFF by tifffile, colours as R, G, B."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".tif", ".tiff"):
        tifffile.imwrite(path, pixels)
        return
    pixels = pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def picture(seed=0, size=(32, 48), bands=3, high=256, dtype=np.uint8):
    shape = size if bands is None else (*size, bands)
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def mask(value=1, size=(32, 48), kind=np.uint8):
    """Zero, and a rectangle of a value or a colour; it fills a quarter."""
    shape = size if np.ndim(value) == 0 else (*size, 3)
    labels = np.zeros(shape, kind)
    labels[: size[0] // 2, : size[1] // 2] = value
    return labels


def write_pairs(root, images="images", masks="masks", count=4, end=(".png", ".png"), value=1):
    """Pairs 0, 1, … in two folders."""
    for i in range(count):
        write_any(root / images / f"{i}{end[0]}", picture(i))
        write_any(root / masks / f"{i}{end[1]}", mask(value))
    return root
