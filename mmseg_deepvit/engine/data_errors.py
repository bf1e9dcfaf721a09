"""Errors of the data, with the names of files and folders, which loaders often do not tell."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from ..datasets.checking import leaf_configs
from ..errors import UserError

_MOST_NAMED = 5


@contextmanager
def named_data_errors(runner: Runner) -> Iterator[None]:
    """Turn an error from reading the data into one that names the files.

    Args:
        runner: Whose data are read within the context.

    Raises:
        UserError: Files of the runner's datasets cannot be read; other errors pass unchanged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # A worker's traceback arrives as the text of the error.
        text = "".join(traceback.format_exception(error)).replace("\\", "/")
        bad = unreadable_files(_datasets(runner)) if "transforms/loading.py" in text else []
        if not bad:
            raise
        more = " and more" if len(bad) > _MOST_NAMED else ""
        raise UserError(
            f"{', '.join(bad[:_MOST_NAMED])}{more} cannot be read: replace the file, or remove "
            "image and mask"
        ) from error


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


def unreadable_files(datasets: Sequence[Any], most: int = _MOST_NAMED + 1) -> list[str]:
    """Look for image and mask files that exist and cannot be decoded.

    Args:
        datasets: mmengine datasets.
        most: After so many the search ends.

    Returns:
        Their paths.
    """
    bad: dict[str, None] = {}
    for dataset in datasets:
        for i in range(len(dataset)):
            info = dataset.get_data_info(i)
            for path in (info.get("img_path"), info.get("seg_map_path")):
                if path is not None and path not in bad and not _can_be_decoded(path):
                    bad[path] = None
            if len(bad) >= most:
                return list(bad)
    return list(bad)


def _can_be_decoded(path: str) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        return True  # has an error of its own, which names it
    except Exception:  # Pillow's decoders raise SyntaxError, struct.error and more
        return False
    return True


def _datasets(runner: Runner) -> list[Any]:
    """The datasets of those loops that are built."""
    loops = (getattr(runner, f"_{name}_loop", None) for name in ("train", "val", "test"))
    loaders = (getattr(loop, "dataloader", None) for loop in loops)
    return [loader.dataset for loader in loaders if loader is not None]
