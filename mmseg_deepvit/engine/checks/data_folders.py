"""Check the folders of images before anything is built."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ...datasets import FolderDataset
from ...datasets.checking import leaf_configs
from ...errors import UserError


def check_data_folders(cfg: Config, parts: Sequence[str]) -> None:
    """Check that the folders of images hold files.

    Args:
        cfg: Full config.
        parts: Parts to check, of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        UserError: A folder is missing or empty, or no file has the images' ending; the message
            names the folder and the option that sets it.
    """
    for part in parts:
        for dataset in leaf_configs((cfg.get(f"{part}_dataloader") or {}).get("dataset")):
            folder = Path(
                dataset.get("data_root") or "",
                (dataset.get("data_prefix") or {}).get("img_path") or "",
            )
            remote = "://" in str(dataset.get("data_root")) or dataset.get("backend_args")
            if remote or folder == Path():
                continue
            suffix = _suffix(dataset)
            what = "does not exist" if not folder.is_dir() else "holds no files"
            if suffix and folder.is_dir():
                what += f" that end in {suffix}"
            if not any(p.is_file() and p.name.endswith(suffix) for p in folder.rglob("*")):
                raise UserError(
                    f"{folder} {what}: put the images there, or set data_root or img_suffix "
                    f"(--cfg-options {part}_dataloader.dataset.data_root=…)"
                )


def _suffix(dataset: dict[str, Any]) -> str | tuple[str, ...]:
    """The ending of images where it is certain, else the empty ending of all files."""
    if dataset.get("type") in (FolderDataset, FolderDataset.__name__):
        return ""  # of names before the dot
    if given := dataset.get("img_suffix"):
        return tuple(given) if isinstance(given, list) else given
    kind: Any = dataset.get("type")
    if isinstance(kind, str) and kind:
        with suppress(RuntimeError):  # building the data set tells of an unknown name
            kind = DATASETS.get(kind)
    # Other classes may list their files in another way.
    if getattr(kind, "load_data_list", None) is not BaseSegDataset.load_data_list:
        return ""
    argument = inspect.signature(kind).parameters.get("img_suffix")
    return "" if argument is None or not isinstance(argument.default, str) else argument.default
