"""A check of every pair of a data set, in worker processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
from mmengine.config import Config
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from torch.utils.data import DataLoader, Subset

from ...errors import UserError
from ...label_pictures import NO_PALETTE, is_palette
from ..folders import FolderDataset
from ..pairs import list_stems, without_partner
from .reading import NO_IMAGE, NO_MASK, PairFacts, PairReader, Problem, Results


@dataclass
class Survey:
    """Contents of a data set.

    Args:
        name: Name in the report.
        classes: Names of the classes.
        palette: RGB of each class, 0 to 255.
        ignore_index: Label of ignored pixels.
        num_images: Number of listed images.
        num_masks: Number of listed images with an existing mask.
        num_read: Number of images that were read.
        sizes: Number of read images of each (height, width).
        pixels: Number of pixels of each label.
        images_with: Number of images that hold each label.
        problems: Problems in the order of the data set.
        good: Numbers of pairs without problems.
        read: Numbers of pairs whose two files could be read, whatever their labels.
        unlabelled: Number of masks that hold ``ignore_index`` alone.
    """

    name: str
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    ignore_index: int
    num_images: int
    num_masks: int
    num_read: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pixels: Counter[int] = field(default_factory=Counter)
    images_with: Counter[int] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    good: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    unlabelled: int = 0

    def add(self, number: int, facts: PairFacts) -> None:
        """Add the facts of a pair."""
        self.num_read += 1
        if facts.size is not None:
            self.sizes[facts.size] += 1
        self.pixels.update(facts.pixels)
        self.images_with.update(facts.pixels.keys())
        self.problems += facts.problems
        self.unlabelled += facts.pixels.keys() == {self.ignore_index}
        if facts.pixels and facts.size is not None:
            self.read.append(number)
        if facts.pixels and not facts.problems:
            self.good.append(number)


def build_datasets(cfg: Config, part: str) -> list[tuple[str, BaseSegDataset]]:
    """Build the data sets of a dataloader, without listing any files yet.

    Args:
        cfg: Full config.
        part: ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        Names and data sets, those inside wrappers such as ``RepeatDataset``.

    Raises:
        UserError: The config has no such dataloader, or one of other data.
    """
    loader = cfg.get(f"{part}_dataloader")
    if not loader:
        raise UserError(f"the config has no {part}_dataloader; choose another --part")
    leaves = list(leaf_configs(loader.get("dataset")))
    if not leaves:
        raise UserError(f"the config's {part}_dataloader has no dataset; set its type and folders")
    named = []
    for i, leaf in enumerate(leaves):
        # Initialising the data set would stop at the first problem.
        dataset = DATASETS.build({**leaf, "lazy_init": True})
        if not isinstance(dataset, BaseSegDataset):
            raise UserError(
                f"{part}_dataloader has a {type(dataset).__name__}; choose a --part with a data "
                "set derived from BaseSegDataset"
            )
        named.append((f"{part}[{i}]" if len(leaves) > 1 else part, dataset))
    return named


def leaf_configs(dataset: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Find the configs of data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    if not dataset:
        return
    inner = [dataset.get("dataset"), *(dataset.get("datasets") or ())]
    if not any(inner):
        yield dataset
    for part in inner:
        yield from leaf_configs(part)


def survey_dataset(
    name: str,
    dataset: BaseSegDataset,
    max_images: int | None = None,
    num_workers: int = 0,
    progress: Callable[..., Iterable[PairFacts]] | None = None,
) -> tuple[Survey, PairReader]:
    """List a data set's files and read its pairs.

    Args:
        name: Name in the report.
        dataset: Data set built with ``lazy_init``.
        max_images: Number of pairs to read, evenly spread; None reads all. Files without a partner
            are always sought among all.
        num_workers: Number of processes that read; 0 reads in this one.
        progress: Wrapper of the iteration, such as ``rich.progress.track``.

    Returns:
        The contents, and the reader of the pairs.

    Raises:
        UserError: A folder is missing, or there are no images.
    """
    infos = _list_pairs(dataset)
    if not infos:
        raise UserError(
            f"{name}: no images *{dataset.img_suffix} in {dataset.data_prefix.get('img_path')}; "
            "check data_root, data_prefix and img_suffix"
        )
    missing, extra = _unpaired(dataset, infos)
    meta = dataset.metainfo
    if not meta.get("classes"):
        raise UserError(f"{name}: {type(dataset).__name__} names no classes; set metainfo.classes")
    if not is_palette(meta["palette"]) or len(meta["palette"]) != len(meta["classes"]):
        raise UserError(f"{name}: metainfo.palette {NO_PALETTE}")
    result = Survey(
        name=name,
        classes=meta["classes"],
        palette=meta["palette"],
        ignore_index=dataset.ignore_index,
        num_images=len(infos),
        num_masks=sum("seg_map_path" in info for info in infos) - len(missing),
    )
    for i, mask in missing.items():
        result.problems.append(Problem(NO_MASK, infos[i]["img_path"], f"{mask} does not exist"))
        infos[i] = {k: v for k, v in infos[i].items() if k != "seg_map_path"}
    result.problems += [Problem(NO_IMAGE, path) for path in extra]
    reader = PairReader(infos, dataset.pipeline, len(result.classes), result.ignore_index)
    if not reader.loads_images:
        raise UserError(f"{name}: its pipeline reads no images; add LoadImageFromFile")
    count = min(len(infos), len(infos) if max_images is None else max_images)
    numbers = [i * len(infos) // count for i in range(count)]
    read: Iterable[PairFacts] = DataLoader(
        Subset(reader, numbers),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=num_workers,
        worker_init_fn=_one_thread,
    )
    if progress is not None:
        read = progress(read, total=len(numbers))
    for number, facts in zip(numbers, read, strict=True):
        result.add(number, facts)
    return result, reader


def _list_pairs(dataset: BaseSegDataset) -> list[Results]:
    """List the data set's pairs as its ``full_init`` chooses them, but unchecked."""
    dataset.data_list = dataset.load_data_list()
    infos: list[Results] = dataset.filter_data()
    dataset.data_list = infos
    if dataset._indices is not None:
        infos = dataset._get_unserialized_subset(dataset._indices)
    return infos


def _unpaired(dataset: BaseSegDataset, infos: list[Results]) -> tuple[dict[int, str], list[str]]:
    """Find missing masks by the numbers of their pairs, and masks without an image."""
    if isinstance(dataset, FolderDataset):
        lacking, surplus = dataset.files_without_partner()
        named = {i: info.get("seg_map_path", "") for i, info in enumerate(infos)}
        return {i: path for i, path in named.items() if path in lacking}, surplus
    folders = dataset.data_prefix
    image_suffix, mask_suffix = dataset.img_suffix, dataset.seg_map_suffix
    same = folders.get("img_path") == folders.get("seg_map_path") and image_suffix == mask_suffix
    if same or not any("seg_map_path" in info for info in infos):
        return {}, []
    images = list_stems(folders["img_path"], image_suffix, dataset.backend_args)
    masks = list_stems(folders["seg_map_path"], mask_suffix, dataset.backend_args)
    _, extra = without_partner(images, masks)
    root = folders["seg_map_path"].rstrip("/")
    there = {f"{root}/{stem}{mask_suffix}" for stem in masks}
    paths = [info.get("seg_map_path", "").replace("\\", "/") for info in infos]
    missing = {i: path for i, path in enumerate(paths) if path not in there}
    return missing, [f"{root}/{stem}{mask_suffix}" for stem in extra]


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)
