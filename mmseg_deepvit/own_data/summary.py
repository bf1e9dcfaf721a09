"""What was found in a folder and decided for it, as text."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from ..tables import markdown_table
from .config_text import Plan
from .memory import memory_words
from .survey import Survey


class NewConfig(NamedTuple):
    """A config that was written.

    Attributes:
        path: Path of the file.
        summary: What was found and decided, and the next commands.
    """

    path: str
    summary: str


def data_line(survey: Survey) -> str:
    """Counts, sizes and types of the images, in a few words."""
    counts = ", ".join(f"{count} {part}" for part, count in survey.num_images.items())
    sizes = sorted(survey.sizes, key=lambda size: (size[0] * size[1], size))
    smallest, largest = (f"{height}×{width}" for height, width in (sizes[0], sizes[-1]))
    size = smallest if len(sizes) == 1 else f"{smallest} to {largest}"
    kinds = " and ".join(
        f"{kind} of {bands} {'band' if bands == 1 else 'bands'}"
        for kind, bands in sorted(survey.types)
    )
    return f"{counts} images, {size} (height×width), {kinds}"


def summary(plan: Plan, survey: Survey, target: Path, memory: int, sample: int | None) -> str:
    """Write what was found, what was decided and why, and the next commands."""
    lines = [
        f"found in {plan.layout.root}: {data_line(survey)}",
        *_folder_lines(plan, survey, sample),
    ]
    rows = [
        (i, name, " ".join(map(str, values)), f"{share:.2%}")
        for i, ((name, values), share) in enumerate(
            zip(plan.classes.labels.items(), plan.classes.shares, strict=True)
        )
    ]
    if plan.classes.ignore:
        shown = " ".join(map(str, plan.classes.ignore))
        rows.append((255, "(ignored, of all)", shown, f"{plan.classes.ignored:.2%}"))
    lines += ["", markdown_table(["class", "name", "in masks", "training pixels"], rows), ""]
    lines += [f"* {note}" for note in _decisions(plan, survey, memory)]
    name, config = target.stem, shlex.quote(str(target))
    best = f"work_dirs/{shlex.quote(name)}/iter_{plan.schedule.max_iters}.pth"
    lines += [
        "",
        f"written to {target}; next:",
        f"  python tools/check_dataset.py {config}",
        f"  python tools/train.py {config}",
        f"  python tools/test.py {config} {best} --confusion",
        f"  python tools/predict.py IMAGE --checkpoint {best} --out-dir pictures",
        f"  python tools/explore.py {best} --images IMAGE",
    ]
    return "\n".join(lines)


def _folder_lines(plan: Plan, survey: Survey, sample: int | None) -> list[str]:
    layout = plan.layout
    lines = [
        f"  {part}: images in {folders.images or '.'}, masks in {folders.masks or '.'}"
        for part, folders in layout.parts.items()
    ]
    if any(layout.suffixes):
        image, mask = (suffix or "nothing" for suffix in layout.suffixes)
        lines.append(f"  names of images end in {image}, of masks in {mask}")
    lines += [f"  {part}: names in {file}" for part, file in layout.lists.items()]
    if layout.unused:
        lines.append(f"  not used: {', '.join(layout.unused)}")
    if layout.beside:
        lines.append(f"  not used: {layout.beside}; give {layout.beside.parent} to take both")
    total = sum(count for part, count in survey.num_images.items() if part != "test")
    if survey.num_read < total:
        lines.append(
            f"  a sample of {survey.num_read} of {total} pairs was read (--sample 0 reads all); "
            "check_dataset.py reads every file"
        )
    return lines


def _decisions(plan: Plan, survey: Survey, memory: int) -> list[str]:
    sizes, schedule, split = plan.sizes, plan.schedule, plan.split
    notes = [*plan.classes.notes, *plan.start.notes]
    if split:
        notes.append(
            f"{survey.num_images['val']} images are for validation, chosen by a hash of their "
            f"names (val_fraction={split['val_fraction']}, seed={split['seed']})"
        )
    if plan.bands:
        notes.append(f"images are loaded by LoadBands({plan.bands}), without colour jitter")
    source = "that of the weights" if plan.start.normalization else "of the training images"
    notes.append(f"normalisation {source}: mean {plan.mean}, std {plan.std}")
    tests = "whole images" if sizes.is_whole else "windows of the crop"
    width, height = sizes.scale
    notes.append(
        f"crops of {sizes.crop}² from images fitted into {height}×{width} (height×width); tests "
        f"take {tests}"
    )
    if plan.weights is not None:
        notes.append("rare classes weigh more in the loss (class_weight)")
    notes.append(
        f"{schedule.max_iters} iterations of {schedule.batch_size} images, learning rate "
        f"{schedule.lr:g}"
        + (" falling from block to block towards the image" if plan.start.is_pretrained else "")
    )
    notes.append(f"memory to train: about {memory_words(memory)} (estimated)")
    return notes
