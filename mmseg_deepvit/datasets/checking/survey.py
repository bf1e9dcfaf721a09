"""Looking through a whole data set: every pair, in worker processes."""

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
from ..pairs import list_stems, without_partner
from .reading import NO_IMAGE, NO_MASK, PairFacts, PairReader, Problem


@dataclass
class Survey:
    """What a data set holds.

    Args:
        name: What it is called in the report.
        classes: Names.
        palette: RGB of each class, 0 to 255.
        ignore_index: The label that is no class on purpose.
        num_images: How many images the data set lists.
        num_masks: How many of them name a mask that is there.
        num_read: How many were read.
        sizes: How many of those have each (height, width).
        pixels: Number of pixels of each label.
        images_with: Number of images that hold each label.
        problems: Everything that is wrong, in the order of the data set.
        good: Numbers of pairs with which nothing is wrong.
        read: Numbers of pairs of which both files were read, whatever their labels are.
        unlabelled: How many masks hold nothing but ``ignore_index``, from which nothing is learnt.
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
        """Count a pair in."""
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
    """Build what a dataloader reads, without listing any files yet.

    Args:
        cfg: A whole config.
        part: ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        The data sets below wrappers such as ``RepeatDataset``, each with its name.

    Raises:
        UserError: The config has no such dataloader, or one of other data.
    """
    loader = cfg.get(f"{part}_dataloader")
    if not loader:
        raise UserError(f"the config has no {part}_dataloader: choose another --part")
    leaves = list(leaf_configs(loader.get("dataset")))
    if not leaves:
        raise UserError(f"the config's {part}_dataloader has no dataset: set its type and folders")
    named = []
    for i, leaf in enumerate(leaves):
        # What is wrong shall be listed, where the data set itself would stop at the first.
        dataset = DATASETS.build({**leaf, "lazy_init": True})
        if not isinstance(dataset, BaseSegDataset):
            raise UserError(
                f"{part}_dataloader has a {type(dataset).__name__}: only data sets derived from "
                "BaseSegDataset can be checked"
            )
        named.append((f"{part}[{i}]" if len(leaves) > 1 else part, dataset))
    return named


def leaf_configs(dataset: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The configs of data sets below wrappers such as RepeatDataset and ConcatDataset."""
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
        name: What it is called in the report.
        dataset: Built with ``lazy_init``.
        max_images: Read so many, evenly spread; None reads all. Files without a partner are looked
            for among all in any case.
        num_workers: Processes that read; 0 reads in this one.
        progress: Wraps what is iterated over, as ``rich.progress.track`` does.

    Returns:
        What was found, and the reader of the pairs.

    Raises:
        UserError: A folder is missing, or there are no images.
    """
    infos = _list_pairs(dataset)
    if not infos:
        raise UserError(
            f"{name}: no images *{dataset.img_suffix} in {dataset.data_prefix.get('img_path')}: "
            "look at data_root, data_prefix and img_suffix"
        )
    missing, extra = _unpaired(dataset, infos)
    meta = dataset.metainfo
    if not meta.get("classes"):
        raise UserError(f"{name}: {type(dataset).__name__} names no classes: set metainfo.classes")
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
        raise UserError(f"{name}: its pipeline has no LoadImageFromFile, so that nothing is read")
    numbers = _spread(list(range(len(infos))), max_images)
    read: Iterable[PairFacts] = _read(reader, numbers, num_workers)
    if progress is not None:
        read = progress(read, total=len(numbers))
    for number, facts in zip(numbers, read, strict=True):
        result.add(number, facts)
    return result, reader


def _read(reader: PairReader, numbers: list[int], num_workers: int) -> DataLoader:
    """What reading each of the pairs told, in their order."""
    return DataLoader(
        Subset(reader, numbers),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        worker_init_fn=_one_thread,
    )


def _list_pairs(dataset: BaseSegDataset) -> list[dict]:
    """The data set's pairs as its ``full_init`` chooses them, but unchecked."""
    dataset.data_list = dataset.load_data_list()
    dataset.data_list = dataset.filter_data()
    if dataset._indices is not None:
        return dataset._get_unserialized_subset(dataset._indices)
    return dataset.data_list


def _unpaired(dataset: BaseSegDataset, infos: list[dict]) -> tuple[dict[int, str], list[str]]:
    """Numbers of the pairs whose mask is missing with the mask, and masks that have no image."""
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
    missing = {}
    for i, info in enumerate(infos):
        path = info.get("seg_map_path", "").replace("\\", "/")
        if path not in there:
            missing[i] = path
    return missing, [f"{root}/{stem}{mask_suffix}" for stem in extra]


def _spread(numbers: list[int], most: int | None) -> list[int]:
    """At most so many numbers, evenly spread."""
    if most is None or most >= len(numbers):
        return numbers
    return [numbers[i * len(numbers) // most] for i in range(most)]


def _as_it_is(facts: Any) -> Any:
    return facts


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)
