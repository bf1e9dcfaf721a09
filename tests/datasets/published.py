"""Small synthetic folders in the layouts of the published data sets, and their data sets."""

import cv2
import numpy as np
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

LOADING = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
PIPELINE = [*LOADING, {"type": "PackSegInputs"}]
CLASSES_IN_TURN = np.arange(34, dtype=np.uint8)

#: cityscapesScripts, helpers/labels.py: the train ids of label ids 0 to 33, then of 255 (-1).
OFFICIAL = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13]
OFFICIAL += [14, 15, 255, 255, 16, 17, 18, 255]


def build(kind, root, **arguments):
    """Build a registered data set from its name and arguments."""
    init_default_scope("mmseg")
    return DATASETS.build({"type": kind, "data_root": str(root), "pipeline": PIPELINE, **arguments})


def write(path, pixels):
    """Write a PNG or JPEG with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def isic_mask(root, name, part="Training"):
    return root / f"ISIC2018_Task1_{part}_GroundTruth" / f"{name}_segmentation.png"


def isic_image(root, name, part="Training"):
    return root / f"ISIC2018_Task1-2_{part}_Input" / f"{name}.jpg"


def write_isic(root, count=6, part="Training", size=(12, 16)):
    """Pairs ISIC_0000000 …, with lesions of different sizes, and the files published with them."""
    for i in range(count):
        mask = np.zeros(size, np.uint8)
        mask[: i + 1, : i + 2] = 255
        write(isic_image(root, f"ISIC_{i:07d}", part), noise(*size, 3, seed=i))
        write(isic_mask(root, f"ISIC_{i:07d}", part), mask)
    images, masks = (path(root, "x", part).parent for path in (isic_image, isic_mask))
    for folder in (images, masks):
        (folder / "ATTRIBUTION.txt").write_text("from the archive")
        (folder / "LICENSE.txt").write_text("CC-0")
    write(images / "ISIC_0000000_superpixels.png", noise(*size, 3))
    (images / "._ISIC_0000000.jpg").write_bytes(b"what macOS leaves")
    return root


def write_cityscapes(root, count=3, part="train", kinds=("labelIds",)):
    """Write scenes with a column for each label id, and 255 for -1."""
    for i in range(count):
        name = f"aachen/aachen_{i:06d}_000019"
        write(root / "leftImg8bit" / part / f"{name}_leftImg8bit.png", noise(8, 35, 3, seed=i))
        labels = np.tile(np.append(CLASSES_IN_TURN, 255), (8, 1)).astype(np.uint8)
        for kind in kinds:
            write(root / "gtFine" / part / f"{name}_gtFine_{kind}.png", labels)
    return root


def write_camvid(root, count=3, part="train", published=True):
    """Write scenes with a row of the labels 0 to 11 each, in the published layout or the other."""
    layouts = ((part, f"{part}annot", "png"), (f"images/{part}", f"annotations/{part}", "jpg"))
    images, masks, ending = layouts[not published]
    for i in range(count):
        write(root / images / f"0001TP_{i:06d}.{ending}", noise(8, 12, 3, seed=i))
        labels = np.tile(np.arange(12, dtype=np.uint8), (8, 1))
        write(root / masks / f"0001TP_{i:06d}.png", np.roll(labels, i, axis=1))
    return root


def write_ade(root, training=14, validation=6):
    """Write scenes of coarse blocks in labels of ADE20K, 0 to 150, with real names."""
    for part, count in (("training", training), ("validation", validation)):
        for i in range(count):
            name = f"ADE_val_{i + 1 + 1000 * (part == 'validation'):08d}"
            blocks = np.random.default_rng(i).integers(0, 151, (6, 8), dtype=np.uint8)
            labels = np.kron(blocks, np.ones((32, 32), np.uint8))
            colours = np.stack([labels, 255 - labels, labels // 2], axis=-1)
            write(root / "annotations" / part / f"{name}.png", labels)
            write(root / "images" / part / f"{name}.jpg", colours)
