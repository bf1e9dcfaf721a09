"""Files of one name: images and masks with any endings, in any upper or lower case."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine import fileio

from ..errors import UserError

#: Endings of files that count as images or masks, in lower case.
IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".jp2", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_MORE = frozenset({".gif", ".pbm", ".pgm"})


def list_pictures(folder: str, backend_args: Mapping[str, Any] | None = None) -> list[str]:
    """List the pictures below a folder by their names; hidden files do not count.

    Args:
        folder: Path of a folder, of any mmengine file backend.
        backend_args: mmengine's settings of the backend.

    Returns:
        Paths relative to the folder, with ``/``, sorted.

    Raises:
        UserError: There is no such folder.
    """
    try:
        files = fileio.list_dir_or_file(
            folder, list_dir=False, recursive=True, backend_args=backend_args
        )
        found = sorted(file.replace("\\", "/") for file in files)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{folder} does not exist; put the images there, or set data_root and data_prefix"
        ) from error
    return [file for file in found if is_picture(file)]


def is_picture(file: str) -> bool:
    """Whether a file is a picture by its name, and neither it nor a folder of it is hidden."""
    hidden = any(part.startswith(".") for part in file.split("/"))
    return not hidden and osp.splitext(file)[1].lower() in IMAGE_SUFFIXES | _MORE


def stem_of(file: str, suffix: str) -> str | None:
    """A file's name without its ending.

    Args:
        file: Path with ``/``.
        suffix: Ending of the name. With a dot it is compared with the whole name, in any case
            (``'.jpg'``, ``'_mask.png'``); without one with the name before the dot (``'_mask'``).

    Returns:
        The name, or None if the file ends otherwise.
    """
    if "." in suffix:
        ends = file.lower().endswith(suffix.lower())
        return file[: len(file) - len(suffix)] if ends else None
    stem = osp.splitext(file)[0]
    return stem.removesuffix(suffix) if stem.endswith(suffix) else None


def by_stem(files: Iterable[str], suffix: str, folder: str) -> dict[str, str]:
    """Files that have an ending, by their names without it.

    Args:
        files: Paths relative to a folder.
        suffix: Ending, as :func:`stem_of` takes it.
        folder: Path of the folder, for the error.

    Raises:
        UserError: Two files have one name.
    """
    named: dict[str, str] = {}
    for file in files:
        stem = stem_of(file, suffix)
        if stem is None:
            continue
        if stem in named:
            raise UserError(
                f"{folder} has two files of one name, {named[stem]} and {file}; remove one, or set "
                "img_suffix and seg_map_suffix to tell images from masks ('.jpg', '_mask')"
            )
        named[stem] = file
    return named


def match_folders(
    folders: tuple[str, str | None],
    suffixes: tuple[str, str],
    backend_args: Mapping[str, Any] | None = None,
) -> tuple[dict[str, str], dict[str, str]]:
    """List images and masks by their names.

    One folder may hold both, or hold the other folder. A file that ends as masks do is then no
    image.

    Args:
        folders: Folder of the images, and of the masks; None for no masks.
        suffixes: Endings of images and masks, as :func:`stem_of` takes them.
        backend_args: mmengine's settings of the file backend.

    Returns:
        Images and masks: paths relative to their folder, by names without ending.

    Raises:
        UserError: A folder is missing, two files have one name, or images are masks too.
    """
    image_folder, mask_folder = folders
    image_suffix, mask_suffix = suffixes
    images = list_pictures(image_folder, backend_args)
    if mask_folder is None:
        return by_stem(images, image_suffix, image_folder), {}
    masks = list_pictures(mask_folder, backend_args)
    if osp.normpath(image_folder) == osp.normpath(mask_folder):
        if image_suffix == mask_suffix:
            raise UserError(
                f"{image_folder} holds images and masks, and both end in {image_suffix!r}; set "
                "img_suffix and seg_map_suffix to tell them apart ('.jpg', '_mask')"
            )
        if len(mask_suffix) > len(image_suffix):
            images = [file for file in images if stem_of(file, mask_suffix) is None]
        elif image_suffix:
            masks = [file for file in masks if stem_of(file, image_suffix) is None]
    else:
        images = _outside(images, image_folder, mask_folder)
        masks = _outside(masks, mask_folder, image_folder)
    return (
        by_stem(images, image_suffix, image_folder),
        by_stem(masks, mask_suffix, mask_folder),
    )


def _outside(files: list[str], folder: str, other: str) -> list[str]:
    """Files of a folder that are not below another one."""
    inner = osp.relpath(other, folder).replace("\\", "/")
    return files if inner.startswith("..") else [f for f in files if not f.startswith(f"{inner}/")]
