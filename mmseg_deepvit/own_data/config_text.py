"""The text of a config for someone's own data, over our bases."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path
from typing import Any

from ..errors import UserError
from .classes import Classes
from .layouts import Layout
from .plan import Schedule, Sizes
from .start import Start

_COLUMNS = 100
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Plan:
    """All that a config says.

    Attributes:
        layout: Folders.
        classes: Classes.
        head: ``'upernet'`` or ``'linear'``.
        start: Backbone.
        sizes: Crop and scale.
        schedule: Iterations.
        bands: Arguments of ``LoadBands``; None loads 8-bit RGB.
        mean: Mean of the channels, from 0 to 255.
        std: Their deviation.
        weights: Class weights, or None.
        split: Arguments of the data set that choose a part of one folder, without ``part``; else
            empty.
        comments: Lines of the header.
    """

    layout: Layout
    classes: Classes
    head: str
    start: Start
    sizes: Sizes
    schedule: Schedule
    bands: dict[str, Any] | None
    mean: list[float]
    std: list[float]
    weights: list[float] | None
    split: dict[str, Any]
    comments: list[str]


def bases_folder() -> Path:
    """Folder ``_base_`` of our configs, in a checkout or in an installed package.

    Raises:
        UserError: The package was installed without its configs.
    """
    for folder in (
        _PACKAGE.parent / "configs" / "_base_",
        _PACKAGE / ".mim" / "configs" / "_base_",
    ):
        if folder.is_dir():
            return folder
    raise UserError(
        f"{_PACKAGE} was installed without configs; install it by pip install ., or from a checkout"
    )


def config_text(plan: Plan, out: Path) -> str:
    """Write a config.

    Args:
        plan: What it says.
        out: Its path. Inside the checkout that we run from, bases have relative paths, else
            absolute ones.
    """
    parts = (
        [f"# {line}".rstrip() for line in plan.comments] + [_line("_base_", _bases(plan, out))],
        _dataset_lines(plan),
        _pipeline_lines(plan),
        _loader_lines(plan),
        _model_lines(plan),
        _schedule_lines(plan),
    )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _bases(plan: Plan, out: Path) -> list[str]:
    schedule = "adamw_layer-decay_1600" if plan.start.is_pretrained else "adamw_1500"
    names = (f"tasks/{plan.head}_folders", f"schedules/{schedule}")
    bases, target = bases_folder(), out.resolve().parent
    checkout = bases.parents[1]
    inside = checkout != _PACKAGE / ".mim" and checkout in (target, *target.parents)
    folder = os.path.relpath(bases, target) if inside else str(bases)
    return [f"{folder}/{name}.py".replace("\\", "/") for name in names]


def _dataset_lines(plan: Plan) -> list[str]:
    layout, classes = plan.layout, plan.classes
    shared: dict[str, Any] = dict(data_root=os.path.abspath(layout.root))
    for name, suffix in zip(("img_suffix", "seg_map_suffix"), layout.suffixes, strict=True):
        if suffix:
            shared[name] = suffix
    shared |= plan.split
    palette = {} if classes.palette is None else dict(palette=classes.palette)
    if list(classes.labels.values()) == [[i] for i in range(len(classes.labels))]:
        lines = ["# The value of a class in the masks is its place here."]
        lines += [_line("classes", list(classes.labels))]
        shared["metainfo"] = dict(classes=Name("classes"), **palette)
    else:
        values = {k: v[0] if len(v) == 1 else v for k, v in classes.labels.items()}
        lines = ["# The value, or values, of each class in the masks."]
        lines += [_line("classes", values)]
        shared["labels"] = Name("classes")
        if palette:
            shared["metainfo"] = palette
    if classes.ignore:
        shared["ignore"] = classes.ignore
    return [*lines, _line("data", shared)]


def _pipeline_lines(plan: Plan) -> list[str]:
    scale = plan.sizes.scale
    load = dict(type="LoadBands", **plan.bands) if plan.bands else dict(type="LoadImageFromFile")
    jitter = [] if plan.bands else [dict(type="PhotoMetricDistortion")]
    resizing = dict(scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True)
    steps = [
        Name("load"),
        Name("labels"),
        dict(type="RandomResize", **resizing),
        dict(type="RandomCrop", crop_size=Name("crop_size"), cat_max_ratio=0.75),
        dict(type="RandomFlip", prob=0.5),
        *jitter,
        Name("pack"),
    ]
    flips = [dict(type="RandomFlip", prob=prob) for prob in (0.0, 1.0)]
    views = Name("[[resize], flips, [labels], [pack]]")
    return [
        _line("crop_size", (plan.sizes.crop, plan.sizes.crop)),
        _line("load", load),
        _line("resize", dict(type="Resize", scale=scale, keep_ratio=True)),
        _line("labels", dict(type="LoadAnnotations")),
        _line("pack", dict(type="PackSegInputs")),
        _line("train_pipeline", steps),
        "test_pipeline = [load, resize, labels, pack]",
        _line("flips", flips),
        _line("tta_pipeline", [Name("load"), dict(type="TestTimeAug", transforms=views)]),
    ]


def _loader_lines(plan: Plan) -> list[str]:
    layout = plan.layout
    lines = []
    for part in ("train", "val", "test"):
        if part == "test" and not {"test"} & {*layout.parts, *layout.lists}:
            lines.append("test_dataloader = val_dataloader")
            continue
        folders = layout.parts.get(part) or layout.parts["train"]
        prefix = dict(img_path=folders.images, seg_map_path=folders.masks)
        own: dict[str, Any] = dict(data_prefix=prefix)
        if plan.split:
            own["part"] = part
        if part in layout.lists:
            own["ann_file"] = layout.lists[part]
        size = dict(batch_size=plan.schedule.batch_size) if part == "train" else {}
        pipeline = "train_pipeline" if part == "train" else "test_pipeline"
        dataset = Name(f"dict(**data, **{part}, pipeline={pipeline})")
        lines += [_line(part, own), _line(f"{part}_dataloader", {**size, "dataset": dataset})]
    return lines


def _model_lines(plan: Plan) -> list[str]:
    start, crop = plan.start, Name("crop_size")
    is_upernet = plan.head == "upernet"
    lines = []
    backbone: dict[str, Any] = dict(start.settings)
    if "init_cfg" in backbone:
        lines.append(_line("weights", backbone["init_cfg"]))
        backbone["init_cfg"] = Name("weights")
    backbone["img_size"] = crop
    if is_upernet:
        backbone["out_indices"] = start.out_indices
    model: dict[str, Any] = {}
    if start.settings["type"] == "DiversePatchViT":
        model = dict(type="DiverseEncoderDecoder", diversity=_diversity(plan))
    preprocessor = dict(mean=plan.mean, std=plan.std, size=crop)
    if len(plan.mean) not in (1, 3):
        preprocessor = dict(type="BandDataPreProcessor", **preprocessor)
    model["data_preprocessor"] = preprocessor
    model["backbone"] = Name("backbone")
    model |= _upernet(plan) if is_upernet else _linear(plan)
    stride = 2 * plan.sizes.crop // 3
    model["test_cfg"] = (
        dict(_delete_=True, mode="whole")
        if plan.sizes.is_whole
        else dict(crop_size=crop, stride=(stride, stride))
    )
    lines.append(_line("backbone", backbone))
    return [*lines, *_weight_lines(plan), _line("head", _head(plan)), _line("model", model)]


def _weight_lines(plan: Plan) -> list[str]:
    if plan.weights is None:
        return []
    return [
        "# Rare classes weigh more: 1/√(share of the training pixels), with a mean of 1 over them.",
        _line("loss", dict(class_weight=plan.weights)),
    ]


def _upernet(plan: Plan) -> dict[str, Any]:
    """Settings that depend on width and patches; ``channels`` grow with the width."""
    width = plan.start.embed_dims
    neck: dict[str, Any] = dict(embed_dim=width)
    if plan.start.patch_size < 14:
        neck["rescales"] = [2, 1, 0.5, 0.25]
    return dict(
        neck=neck,
        decode_head=Name(f"dict(in_channels=[{width}] * 4, **head)"),
        auxiliary_head=Name(f"dict(in_channels={width}, **head)"),
    )


def _linear(plan: Plan) -> dict[str, Any]:
    width = plan.start.embed_dims
    return dict(decode_head=Name(f"dict(in_channels={width}, channels={width}, **head)"))


def _head(plan: Plan) -> dict[str, Any]:
    width = plan.start.embed_dims
    head: dict[str, Any] = dict(num_classes=len(plan.classes.labels))
    if plan.head == "upernet" and width > 192:
        head["channels"] = width // 3
    if plan.weights is not None:
        head["loss_decode"] = Name("loss")
    return head


def _diversity(plan: Plan) -> dict[str, Any]:
    """The paper's three losses, at full weight after a fifth of the iterations."""
    return dict(
        early="blocks.0",
        last=-1,
        cosine=1.0,
        contrastive=1.0,
        mixing=1.0,
        warmup_iters=plan.schedule.max_iters // 5,
        patch_mix=dict(patch_size=plan.start.patch_size, alpha=1.0, prob=0.5),
    )


def _schedule_lines(plan: Plan) -> list[str]:
    s = plan.schedule
    warmup = dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=s.warmup_iters)
    end = Name("max_iters")
    rest = dict(type="PolyLR", eta_min=0.0, by_epoch=False, begin=s.warmup_iters, end=end)
    hooks: dict[str, Any] = dict(checkpoint=dict(interval=s.val_interval))
    if plan.bands:
        hooks["visualization"] = dict(type="LoadedImageVisualizationHook")
    return [
        _line("max_iters", s.max_iters),
        _line("optim_wrapper", dict(optimizer=dict(lr=s.lr))),
        _line("param_scheduler", [warmup, rest]),
        _line("train_cfg", dict(max_iters=end, val_interval=s.val_interval)),
        "# The newest checkpoint is kept, and the one with the best mean IoU.",
        _line("default_hooks", hooks),
    ]


class Name(str):
    """Code to write as it is, such as the name of a variable."""


def _line(name: str, value: Any) -> str:
    """An assignment, over several lines where it is long."""
    return f"{name} = {_wrapped(value, name + ' = ', '')}"


def _wrapped(value: Any, before: str, indent: str) -> str:
    """Code of a value, broken where it passes the last column.

    Args:
        value: Numbers, strings, lists, tuples, dicts.
        before: What stands before it in its line, without the indent.
        indent: Spaces that its line begins with.
    """
    text = _text(value)
    if len(indent + before + text) < _COLUMNS:  # a comma may follow
        return text
    if isinstance(value, Mapping):
        named = text.startswith("dict(")
        opening, closing = ("dict(", ")") if named else "{}"
        entries = [(f"{key}=" if named else f"{_text(key)}: ", item) for key, item in value.items()]
    elif isinstance(value, list):
        opening, closing = "[]"
        entries = [("", item) for item in value]
    else:
        return text
    if len(entries) == 1:  # brackets around one part open and close together
        key, item = entries[0]
        return opening + key + _wrapped(item, before + opening + key, indent) + closing
    inner = indent + "    "
    items = [key + _wrapped(item, key, inner) for key, item in entries]
    if any("dict(" in item or "{" in item for item in items):
        body = "".join(f"{inner}{item},\n" for item in items)
    else:
        body = _filled(items, inner)
    return f"{opening}\n{body}{indent}{closing}"


def _filled(items: list[str], indent: str) -> str:
    """Lines of items side by side, without a break inside an item."""
    joined = ", ".join(item.replace(" ", "\0") for item in items)
    lines = textwrap.wrap(
        joined, _COLUMNS - len(indent), break_long_words=False, break_on_hyphens=False
    )
    return "".join(f"{indent}{line}\n" for line in lines).replace("\0", " ")


def _text(value: Any) -> str:
    """Code of a value on one line: strings in double quotes, dicts of names as ``dict(…)``."""
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        if all(key.isidentifier() and not iskeyword(key) for key in value):
            return f"dict({', '.join(f'{key}={_text(item)}' for key, item in value.items())})"
        return f"{{{', '.join(f'{_text(key)}: {_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        inner = ", ".join(map(_text, value))
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{comma})"
    return repr(value)
