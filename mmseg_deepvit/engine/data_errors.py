"""Errors of the data that can be told before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from ..datasets.checking import leaf_configs
from ..errors import UserError


def check_data_folders(cfg: Config, parts: Sequence[str]) -> None:
    """Look, before anything is built, whether the folders of images are there and hold files.

    Args:
        cfg: A whole config.
        parts: Which dataloaders are looked at: of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        UserError: A folder is missing or empty; the message names it and the option that sets it.
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
            what = "does not exist" if not folder.is_dir() else "holds no files"
            if not any(path.is_file() for path in folder.rglob("*")):
                raise UserError(
                    f"{folder} {what}: put the images there, or set data_root "
                    f"(--cfg-options {part}_dataloader.dataset.data_root=…)"
                )
