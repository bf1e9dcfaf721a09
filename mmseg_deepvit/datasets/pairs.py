"""Images and masks in folders: list them, and find those without a partner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine import fileio
from mmseg.datasets import BaseSegDataset

from ..errors import UserError


def list_stems(
    folder: str, suffix: str, backend_args: Mapping[str, Any] | None = None
) -> list[str]:
    """List the files below a folder that have an ending.

    Hidden files do not count: macOS leaves some among unzipped files.

    Args:
        folder: Path of a folder, of any mmengine file backend.
        suffix: Ending of the files.
        backend_args: mmengine's settings of the backend.

    Returns:
        Paths without the ending, relative to the folder, with ``/``, sorted.

    Raises:
        UserError: There is no such folder.
    """
    try:
        files = fileio.list_dir_or_file(
            folder, list_dir=False, suffix=suffix, recursive=True, backend_args=backend_args
        )
        return sorted(name.replace("\\", "/").removesuffix(suffix) for name in files)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{folder} does not exist; unzip the data set there, or set data_root "
            "(--cfg-options train_dataloader.dataset.data_root=…, the same for val and test)"
        ) from error


def without_partner(images: Sequence[str], masks: Sequence[str]) -> tuple[list[str], list[str]]:
    """Images without a mask and masks without an image, by names without ending, in order."""
    with_image, with_mask = set(images), set(masks)
    return [i for i in images if i not in with_mask], [m for m in masks if m not in with_image]


def name_some(names: Sequence[str], most: int = 3) -> str:
    """Join the first names, and say how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def list_masks(dataset: BaseSegDataset) -> list[str] | None:
    """List a data set's masks by its ``data_prefix``, ``seg_map_suffix`` and ``test_mode``.

    Returns:
        Sorted names without ending; None if ``test_mode`` is on and there are no masks.

    Raises:
        UserError: The folder is missing or not given, and ``test_mode`` is off.
    """
    folder = dataset.data_prefix.get("seg_map_path")
    if folder is None and not dataset.test_mode:
        raise UserError("data_prefix names no seg_map_path; give it, or test_mode=True")
    is_there = folder is not None and fileio.isdir(folder, dataset.backend_args)
    if dataset.test_mode and not is_there:
        return None
    masks = list_stems(folder, dataset.seg_map_suffix, dataset.backend_args)
    return None if dataset.test_mode and not masks else masks


def refuse_unpaired(
    missing: Sequence[str], extra: Sequence[str], folders: Mapping[str, str]
) -> None:
    """Raise an error if any image or mask has no partner.

    Args:
        missing: Images without a mask.
        extra: Masks without an image.
        folders: ``img_path`` and ``seg_map_path``.

    Raises:
        UserError: One line with the first names and the counts.
    """
    images, masks = folders["img_path"], folders["seg_map_path"]
    said = []
    if missing:
        said.append(f"{len(missing)} images of {images} have no mask in {masks}")
        said[-1] += f" ({name_some(missing)})"
    if extra:
        said.append(f"{len(extra)} masks of {masks} have no image in {images}")
        said[-1] += f" ({name_some(extra)})"
    if said:
        raise UserError(
            f"{', and '.join(said)}; unzip both folders again, or remove the surplus files "
            "(tools/check_dataset.py CONFIG lists all)"
        )
