"""Recognise how a folder of images and masks is laid out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..datasets.matching import list_pictures, match_folders
from ..datasets.pairs import name_some
from ..errors import UserError
from .suffixes import find_suffixes

PARTS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_IMAGES = (
    *("image", "images", "img", "imgs", "jpegimages", "input", "inputs", "photo", "photos"),
    *("picture", "pictures", "rgb", "scan", "scans", "leftimg8bit"),
)
_MASKS = (
    *("mask", "masks", "label", "labels", "annotation", "annotations", "annot", "annots", "ann"),
    *("anns", "gt", "gts", "groundtruth", "truth", "seg", "segs", "segmentation", "segmentations"),
    *("segmentationclass", "target", "targets", "gtfine"),
)
_ROLES = dict.fromkeys(_IMAGES, "images") | dict.fromkeys(_MASKS, "masks")
_PART_OF = {word: part for part, words in PARTS.items() for word in words}
#: Folders of lists of names, below the root.
_LIST_FOLDERS = ("", "splits", "lists", "ImageSets/Segmentation")


class Folders(NamedTuple):
    """Folders of one part, relative to the root, with ``/``.

    Attributes:
        images: Folder of the images.
        masks: Folder of the masks; it may be the same.
    """

    images: str
    masks: str


@dataclass
class Layout:
    """Layout of a folder.

    Attributes:
        root: The folder.
        parts: Folders by part, ``'train'`` and maybe ``'val'`` and ``'test'``.
        suffixes: Endings of images and masks, as the data set takes them.
        lists: Text files with the names of parts, relative to the root.
        unused: Folders with pictures that are in no part.
        beside: Folder of validation beside the root, where the root is one of training.
    """

    root: Path
    parts: dict[str, Folders]
    suffixes: tuple[str, str] = ("", "")
    lists: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    beside: Path | None = None

    def pairs(self, part: str) -> dict[str, tuple[str, str]]:
        """Paths of images and masks of a part by their names.

        Raises:
            UserError: An image has no mask, or two files have one name.
        """
        folders = [str(self.root / folder) for folder in self.parts[part]]
        images, masks = match_folders((folders[0], folders[1]), self.suffixes)
        if missing := [images[stem] for stem in images if stem not in masks]:
            raise UserError(
                f"{len(missing)} of {len(images)} images of {folders[0]} have no mask in "
                f"{folders[1]} ({name_some(missing)}); add the masks, move these images away, or "
                "name the endings by --img-suffix and --seg-map-suffix"
            )
        joined = (f"{folders[0]}/{images[stem]}" for stem in images)
        return {s: (i, f"{folders[1]}/{masks[s]}") for s, i in zip(images, joined, strict=True)}


def find_layout(
    root: Path,
    images: str | None = None,
    masks: str | None = None,
    suffixes: Sequence[str | None] = (None, None),
) -> Layout:
    """Find images, masks and their parts below a folder.

    Args:
        root: The folder.
        images: Folder of the images, relative to ``root``; None finds it.
        masks: Folder of the masks, relative to ``root``; None finds it.
        suffixes: Endings of the names of images and masks; None finds them.

    Raises:
        UserError: There are no pictures, or what is what cannot be told; the message names the
            option that tells it.
    """
    if not root.is_dir():
        raise UserError(f"{root} is no folder; give the folder that holds images and masks")
    files = list_pictures(str(root))
    if not files:
        raise UserError(f"{root} holds no images; give the folder that holds images and masks")
    for option, folder in (("--images", images), ("--masks", masks)):
        if folder is not None and not (root / folder).is_dir():
            raise UserError(f"{option} {folder} is no folder below {root}; name one")
    found = _group({file.rpartition("/")[0] for file in files}, images, masks)
    parts = _choose_parts(root, found)
    used = {folder for folders in parts.values() for folder in folders}
    heads = {head for heads in found.values() for head in heads}
    layout = Layout(root, parts, unused=sorted(heads - used))
    first = parts["train"]
    listed = [_below(files, folder) for folder in first]
    layout.suffixes = find_suffixes(listed[0], listed[1], first, suffixes)
    if "val" not in parts:
        layout.lists = _find_lists(root)
        layout.beside = _val_beside(root)
    return layout


def read_words(component: str) -> tuple[str | None, str | None]:
    """The part and the role that a folder's name tells, each or None."""
    part = role = None
    for word in re.split(r"[^a-z0-9]+", component.lower()):
        part = _PART_OF.get(word, part)
        found = _ROLES.get(word)
        for start, of in _PART_OF.items():  # trainannot
            rest = word.removeprefix(start)
            if rest != word and rest in _ROLES:
                part, found = of, _ROLES[rest]
        role = "masks" if "masks" in (role, found) else found or role
    return part, role


def _group(
    folders: Iterable[str], images: str | None, masks: str | None
) -> dict[tuple[str | None, str | None], set[str]]:
    """Folders by part and role: each the outermost whose name tells them."""
    groups: dict[tuple[str | None, str | None], set[str]] = defaultdict(set)
    named = {
        role: _normal(folder)
        for role, folder in (("images", images), ("masks", masks))
        if folder is not None
    }
    for folder in folders:
        tops = {role: top for role, top in named.items() if _is_below(folder, top)}
        forced = max(tops, key=lambda role: len(tops[role]), default=None)
        part, role, head = _read_path(folder, tops[forced] if forced else None)
        if forced is None and (role or "images") in named:
            continue  # another folder has this role
        groups[part, forced or role].add(head)
    if len(named) == 2 and len(set(named.values())) == 1:
        return {(part, None): heads for (part, _), heads in groups.items()}
    return groups


def _read_path(folder: str, top: str | None) -> tuple[str | None, str | None, str]:
    """Part and role that a path tells, and the outermost folder that tells both.

    Args:
        folder: Path.
        top: Folder above it whose role is known, else None.
    """
    part = role = None
    head = top or ""
    components = folder.split("/") if folder else []
    for depth, component in enumerate(components, 1):
        told_part, told_role = read_words(component)
        path = "/".join(components[:depth])
        if (told_part or (told_role and top is None)) and len(path) > len(head):
            head = path
        part, role = told_part or part, told_role or role
    return part, role, head


def _choose_parts(
    root: Path, groups: dict[tuple[str | None, str | None], set[str]]
) -> dict[str, Folders]:
    has_masks = any(role == "masks" for _, role in groups)
    parts: dict[str, Folders] = {}
    for part in (*PARTS, None):
        heads = groups.get((part, "images")) or groups.get((part, None))
        if not heads:
            continue
        masks = groups.get((part, "masks")) or groups.get((None, "masks"))
        if has_masks and not masks:
            continue
        chosen = _only(root, heads, part, "images")
        parts[part or "all"] = Folders(
            chosen, _only(root, masks, part, "masks") if masks else chosen
        )
    everything = parts.pop("all", None)
    if "train" in parts and everything and {(None, "images"), (None, "masks")} <= groups.keys():
        raise UserError(
            f"{root} holds images and masks in {parts['train'].images} and, of no part, in "
            f"{everything.images}; give the folder of one data set, or name folders by --images "
            "and --masks"
        )
    if "train" not in parts:
        if everything is None:
            raise UserError(
                f"{root} has masks and no images that belong to them; name the folder of the "
                "images by --images FOLDER, and that of the masks by --masks FOLDER"
            )
        parts = {"train": everything}
    return parts


def _only(root: Path, heads: set[str], part: str | None, role: str) -> str:
    """The only folder of a part and a role."""
    if len(heads) > 1:
        of = f" of {part}" if part else ""
        raise UserError(
            f"{root} has several folders that could hold the {role}{of} "
            f"({name_some(sorted(heads), most=5)}); name one by --{role} FOLDER"
        )
    return next(iter(heads))


def _find_lists(root: Path) -> dict[str, str]:
    """Text files that name the images of training and validation, if both are there."""
    for folder in _LIST_FOLDERS:
        found = {}
        for part, words in PARTS.items():
            files = (f"{folder}/{word}.txt".lstrip("/") for word in words)
            if file := next((file for file in files if (root / file).is_file()), None):
                found[part] = file
        if {"train", "val"} <= found.keys():
            return found
    return {}


def _val_beside(root: Path) -> Path | None:
    """The folder of validation beside one of training, None where there is none."""
    root = root.absolute()
    if read_words(root.name)[0] != "train":
        return None
    folders = (folder for folder in sorted(root.parent.iterdir()) if folder.is_dir())
    return next((folder for folder in folders if read_words(folder.name)[0] == "val"), None)


def _below(files: Sequence[str], folder: str) -> list[str]:
    start = f"{folder}/" if folder else ""
    return [file.removeprefix(start) for file in files if file.startswith(start)]


def _is_below(folder: str, top: str) -> bool:
    return not top or folder == top or folder.startswith(f"{top}/")


def _normal(folder: str) -> str:
    return Path(folder).as_posix().removeprefix("./").strip("/").removeprefix(".")
