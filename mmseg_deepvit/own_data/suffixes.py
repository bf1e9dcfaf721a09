"""Find by which endings the names of images and masks differ."""

from __future__ import annotations

import os.path as osp
from collections import Counter
from collections.abc import Sequence

from ..datasets.matching import stem_of
from ..errors import UserError

_MASK_WORDS = ("mask", "label", "gt", "seg", "annot", "truth", "target")


def find_suffixes(
    images: Sequence[str],
    masks: Sequence[str],
    folders: Sequence[str],
    given: Sequence[str | None],
) -> tuple[str, str]:
    """Find the endings of images and masks.

    Args:
        images: Files in the folder of the images, relative to it.
        masks: Files in the folder of the masks; the same files if the folder is the same.
        folders: Both folders, for the error.
        given: Endings that are known already, else None.

    Returns:
        ``img_suffix`` and ``seg_map_suffix`` as :class:`~mmseg_deepvit.datasets.FolderDataset`
        takes them.

    Raises:
        UserError: No endings make pairs; the message names the options that give them.
    """
    if None not in given:
        return str(given[0]), str(given[1])
    tried = [
        (a, b)
        for a, b in (_tails(images, masks) if folders[0] != folders[1] else _one_folder(images))
        if given[0] in (None, a) and given[1] in (None, b)
    ]
    counts = {pair: _count_pairs(images, masks, pair) for pair in tried}
    best = max(counts, key=lambda pair: counts[pair], default=("", ""))
    if not counts.get(best):
        where = " and ".join(dict.fromkeys(f"{folder or '.'}/" for folder in folders))
        some = ", ".join(sorted({*images[:2], *masks[:2]})[:3])
        above = "give the folder above images and masks, or " if folders[0] == folders[1] else ""
        raise UserError(
            f"no image in {where} has a mask by its name (the names are {some}, …); {above}name "
            "the endings, as in --img-suffix _sat --seg-map-suffix _mask, or the folders, by "
            "--images and --masks"
        )
    return best


def _count_pairs(images: Sequence[str], masks: Sequence[str], pair: tuple[str, str]) -> int:
    stems = [
        {s for f in files if (s := stem_of(f, suffix)) is not None}
        for files, suffix in zip((images, masks), pair, strict=True)
    ]
    return len(stems[0] & stems[1])


def _tails(images: Sequence[str], masks: Sequence[str]) -> list[tuple[str, str]]:
    """Endings for two folders, the simplest first."""
    stems = [[osp.splitext(file)[0] for file in files] for files in (images, masks)]
    longer = _remainders(set(stems[0]), stems[1])
    shorter = _remainders(set(stems[1]), stems[0])
    cut = [(a, b) for a in _endings(stems[0]) for b in _endings(stems[1])]
    return [("", ""), *(("", tail) for tail in longer), *((tail, "") for tail in shorter), *cut]


def _one_folder(files: Sequence[str]) -> list[tuple[str, str]]:
    """Endings for images and masks in one folder: masks are longer, named, or of another kind."""
    stems = [osp.splitext(file)[0] for file in files]
    named = [end for end in _endings(stems) if any(word in end.lower() for word in _MASK_WORDS)]
    pairs = [("", tail) for tail in _remainders(set(stems), stems)]
    pairs += [(a, b) for b in named for a in _endings(stems) if a != b]
    kinds = [kind for kind, _ in Counter(osp.splitext(f)[1].lower() for f in files).most_common(4)]
    lossy = (".jpg", ".jpeg", ".webp")
    return pairs + [(a, b) for a in kinds for b in kinds if a != b and b not in lossy]


def _remainders(short: set[str], stems: Sequence[str]) -> list[str]:
    """What follows a shorter name in longer ones, the most frequent first."""
    tails: Counter[str] = Counter()
    for stem in stems:
        ends = [
            at for at in range(len(stem) - 1, 0, -1) if stem[at] in "_- ." and stem[:at] in short
        ]
        tails.update(stem[at:] for at in ends[:1])
    return [tail for tail, _ in tails.most_common(3)]


def _endings(stems: Sequence[str]) -> list[str]:
    """The last one, two or three words of names, with the sign before them, if many share them."""
    found: Counter[str] = Counter()
    for stem in stems:
        marks = [at for at, letter in enumerate(stem) if letter in "_-"]
        found.update(stem[at:] for at in marks[-3:])
    return [ending for ending, count in found.most_common(8) if 3 * count > len(stems)]
