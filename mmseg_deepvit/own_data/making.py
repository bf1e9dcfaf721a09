"""Look at a folder, decide, and write a config."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..command_line.results import check_out, writing
from ..datasets.pairs import name_some
from ..datasets.subsets import RandomPart, read_split
from ..errors import UserError
from ..safe_loading import install
from .channels import channel_statistics, choose_bands
from .classes import derive_classes
from .config_text import Plan, config_text
from .layouts import Layout, find_layout
from .memory import memory_words, training_memory
from .plan import RARE, choose_schedule, choose_seed, choose_sizes, class_weights
from .start import BACKBONES, NORMALIZATIONS, Start, from_scratch, from_weights
from .summary import NewConfig, data_line, summary
from .survey import Progress, Survey, survey_pairs

HEADS = ("upernet", "linear")
#: Pairs of each part that are read at most.
SAMPLE = 400


def new_config(
    data: str | os.PathLike[str],
    backbone: str = "deepvit",
    head: str = "upernet",
    weights: str | None = None,
    out: str | os.PathLike[str] = "my.py",
    *,
    images: str | None = None,
    masks: str | None = None,
    img_suffix: str | None = None,
    seg_map_suffix: str | None = None,
    classes: Sequence[str] | None = None,
    labels: str | None = None,
    ignore: Sequence[str] | None = None,
    bands: Sequence[int] | None = None,
    normalization: str | None = None,
    val_fraction: float = 0.2,
    crop: int | None = None,
    batch_size: int | None = None,
    max_iters: int | None = None,
    sample: int | None = SAMPLE,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> NewConfig:
    """Look at a folder of images and masks, and write a config that trains on them.

    Args:
        data: Folder.
        backbone: ``'deepvit'``, ``'cait'``, ``'diversepatch'`` or ``'vit'``.
        head: ``'upernet'`` or ``'linear'``.
        weights: Weights of the backbone, a file or ``timm://NAME``; None trains a small one from
            scratch.
        out: Path of the config.
        images: Folder of the images, relative to ``data``; None finds it.
        masks: Folder of the masks, relative to ``data``; None finds it.
        img_suffix: What images' names end in, as
            :class:`~mmseg_deepvit.datasets.FolderDataset` takes it; None finds it.
        seg_map_suffix: What masks' names end in; None finds it.
        classes: Names of the classes in the order of their values.
        labels: File that names values or colours
            (:func:`~mmseg_deepvit.own_data.label_tables.read_label_table`).
        ignore: Values or colours to ignore.
        bands: Bands of the images to use, from 0; None uses all, or R, G and B with weights.
        normalization: ``'imagenet'``, ``'half'`` or ``'clip'``, where weights do not tell theirs.
        val_fraction: Share for validation where the folder tells no part.
        crop: Side of the training crop in pixels; None chooses it.
        batch_size: Images of an iteration; None chooses it.
        max_iters: Iterations; None chooses them.
        sample: Largest number of pairs of each part to read; None reads all.
        overwrite: Whether to replace an existing file.
        progress: Wrapper of the reading, such as ``rich.progress.track``.

    Returns:
        The path, and what was found and decided, as text.

    Raises:
        UserError: Something cannot be told or used. The message names the option that tells it
            (``images`` is ``--images`` there).

    Example::

        print(new_config('scans', 'deepvit', weights='timm://vit_tiny_patch16_224').summary)
    """
    for option, value, choices in (
        ("backbone", backbone, BACKBONES),
        ("head", head, HEADS),
        ("normalization", normalization or "imagenet", NORMALIZATIONS),
    ):
        if value not in choices:
            raise UserError(f"--{option} must be one of {', '.join(choices)}, got {value!r}")
    target = _check_target(Path(out), overwrite)
    install()
    init_default_scope("mmseg")
    layout = find_layout(Path(data), images, masks, (img_suffix, seg_map_suffix))
    split, survey = _survey(layout, val_fraction, sample, progress)
    found = derive_classes(survey, classes, labels, ignore)
    loaded, num_channels = choose_bands(survey, bands, has_weights=weights is not None)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start = _start(backbone, weights, normalization, survey, device, crop, num_channels)
    sizes = choose_sizes(survey, start.patch_size, device, crop)
    schedule = choose_schedule(
        survey.num_images["train"], start.embed_dims, start.is_pretrained, batch_size, max_iters
    )
    mean, std = channel_statistics(start, survey, loaded)
    rare = class_weights(found.shares)
    plan = Plan(*(layout, found, head, start, sizes, schedule, loaded, mean, std, rare, split, []))
    memory = _memory(plan, num_channels)
    plan.comments[:] = _header(plan, survey, target, memory)
    with writing(target, "--out") as part:
        part.write_text(config_text(plan, target), encoding="utf-8")
    return NewConfig(str(target), summary(plan, survey, target, memory, sample))


def _check_target(out: Path, overwrite: bool) -> Path:
    check_out(str(out), "--out", is_folder=False)
    if out.suffix != ".py":
        raise UserError(f"--out {out} must end in .py, as configs do; give another name")
    if "." in out.stem:
        raise UserError(f"--out {out} has a dot in its name, which configs may not; give another")
    if out.exists() and not overwrite:
        raise UserError(f"--out {out} exists; give another name, or --overwrite to replace it")
    return out


def _survey(
    layout: Layout, val_fraction: float, sample: int | None, progress: Progress | None
) -> tuple[dict[str, Any], Survey]:
    """How training and validation are told apart, and what the images and masks hold."""
    pairs = {part: layout.pairs(part) for part in layout.parts}
    split: dict[str, Any] = {}
    everything = pairs["train"]
    if layout.lists:
        endings = tuple({"".join(Path(image).suffixes[-1:]) for image, _ in everything.values()})
        for part, file in layout.lists.items():
            names = read_split(str(layout.root / file), list(everything), endings)
            pairs[part] = {name: everything[name] for name in names}
    elif "val" not in pairs:
        if len(everything) < 2:
            raise UserError(
                f"{layout.root} holds 1 image; at least 2 are needed, one to train and one to "
                "validate"
            )
        if not 0 < val_fraction < 1:
            raise UserError(f"--val-fraction must be above 0 and below 1, got {val_fraction}")
        seed = choose_seed(list(everything), val_fraction)
        split = dict(val_fraction=val_fraction, seed=seed)
        for part in ("train", "val"):
            names = RandomPart(part, val_fraction, seed).choose(list(everything))
            pairs[part] = {name: everything[name] for name in names}
    listed = {part: list(named.values()) for part, named in pairs.items()}
    return split, survey_pairs(listed, sample, progress)


def _start(
    backbone: str,
    weights: str | None,
    normalization: str | None,
    survey: Survey,
    device: str,
    crop: int | None,
    num_channels: int,
) -> Start:
    if weights is not None:
        return from_weights(backbone, weights, normalization)
    side = choose_sizes(survey, 16, device, crop).crop
    return from_scratch(backbone, survey.num_images["train"], side, num_channels)


def _memory(plan: Plan, num_channels: int) -> int:
    """Bytes of a training step, of the config as it will be."""
    # mmengine reads text from a folder of its own, so bases need absolute paths.
    cfg = Config.fromstring(config_text(plan, Path(os.sep, "config.py")), ".py")
    return training_memory(cfg.model, plan.schedule.batch_size, num_channels, plan.sizes.crop)


def _header(plan: Plan, survey: Survey, target: Path, memory: int) -> list[str]:
    """Comments at the top of the config."""
    found = plan.classes
    rare = [n for n, s in zip(found.labels, found.shares, strict=True) if 0 < s < RARE]
    notes = [f"{len(found.labels)} classes"]
    if found.ignore:
        notes.append(f"{found.ignored:.1%} of the training pixels are ignored")
    shown = [f"        under 1 % of the training pixels: {name_some(rare, 5)}"] if rare else []
    batch = plan.schedule.batch_size
    return [
        f"{plan.start.settings['type']} + {plan.head} on {plan.layout.root}, by new_config.py.",
        f"Data:   {data_line(survey)}",
        f"Masks:  {'; '.join(notes)}",
        *shown,
        f"Start:  python tools/train.py {shlex.quote(str(target))}",
        f"Memory: about {memory_words(memory)} to train {batch} images at once (estimated)",
    ]
