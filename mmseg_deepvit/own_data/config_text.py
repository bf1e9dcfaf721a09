"""The text of a config for someone's own data, over our bases."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path
from typing import Any

from yapf.yapflib.yapf_api import FormatCode

from ..errors import UserError
from .classes import Classes
from .layouts import Layout
from .plan import Schedule, Sizes
from .start import Start

_STYLE = dict(based_on_style="facebook", column_limit=100)
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
    lines = [f"# {line}".rstrip() for line in plan.comments]
    lines += [f"_base_ = [{', '.join(map(_text, _bases(plan, out)))},]"]
    lines += [f"crop_size = ({plan.sizes.crop}, {plan.sizes.crop})", ""]
    lines += [*_pipeline_lines(plan), "", *_dataset_lines(plan), ""]
    lines += [*_model_lines(plan), "", *_schedule_lines(plan)]
    formatted: str = FormatCode("\n".join(lines) + "\n", style_config=_STYLE)[0]
    return formatted


def _bases(plan: Plan, out: Path) -> list[str]:
    schedule = "adamw_layer-decay_1600" if plan.start.is_pretrained else "adamw_1500"
    names = (f"tasks/{plan.head}_folders", f"schedules/{schedule}")
    bases, target = bases_folder(), out.resolve().parent
    checkout = bases.parents[1]
    inside = checkout != _PACKAGE / ".mim" and checkout in (target, *target.parents)
    folder = os.path.relpath(bases, target) if inside else str(bases)
    return [f"{folder}/{name}.py".replace("\\", "/") for name in names]


def _pipeline_lines(plan: Plan) -> list[str]:
    scale = plan.sizes.scale
    load = dict(type="LoadBands", **plan.bands) if plan.bands else dict(type="LoadImageFromFile")
    jitter = [] if plan.bands else [dict(type="PhotoMetricDistortion")]
    labels, pack = dict(type="LoadAnnotations"), dict(type="PackSegInputs")
    resizing = dict(scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True)
    steps = [
        labels,
        dict(type="RandomResize", **resizing),
        dict(type="RandomCrop", crop_size=Name("crop_size"), cat_max_ratio=0.75),
        dict(type="RandomFlip", prob=0.5),
        *jitter,
        pack,
    ]
    flips = [dict(type="RandomFlip", prob=prob) for prob in (0.0, 1.0)]
    views = [[Name("resize")], flips, [labels], [pack]]
    return [
        f"load = {_text(load)}",
        f"resize = {_text(dict(type='Resize', scale=scale, keep_ratio=True))}",
        f"train_pipeline = [load, {', '.join(map(_text, steps))},]",
        f"test_pipeline = [load, resize, {_text(labels)}, {_text(pack)}]",
        f"views = [{', '.join(map(_text, views))},]",
        'tta_pipeline = [load, dict(type="TestTimeAug", transforms=views)]',
    ]


def _dataset_lines(plan: Plan) -> list[str]:
    layout, classes = plan.layout, plan.classes
    shared: dict[str, Any] = dict(data_root=os.path.abspath(layout.root))
    for name, suffix in zip(("img_suffix", "seg_map_suffix"), layout.suffixes, strict=True):
        if suffix:
            shared[name] = suffix
    palette = {} if classes.palette is None else dict(palette=classes.palette)
    if list(classes.labels.values()) == [[i] for i in range(len(classes.labels))]:
        shared["metainfo"] = dict(classes=list(classes.labels), **palette)
    else:
        shared["labels"] = {k: v[0] if len(v) == 1 else v for k, v in classes.labels.items()}
        if palette:
            shared["metainfo"] = palette
    if classes.ignore:
        shared["ignore"] = classes.ignore
    lines = [
        "# labels: the value or values of each class in the masks; without it class i is value i.",
        f"data = {_text(shared | plan.split)}",
    ]
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
        size = f"batch_size={plan.schedule.batch_size}, " if part == "train" else ""
        pipeline = "train_pipeline" if part == "train" else "test_pipeline"
        dataset = f"dict(**data, {_arguments(own)}, pipeline={pipeline})"
        lines.append(f"{part}_dataloader = dict({size}dataset={dataset})")
    return lines


def _model_lines(plan: Plan) -> list[str]:
    start, crop = plan.start, Name("crop_size")
    is_upernet = plan.head == "upernet"
    backbone: dict[str, Any] = {**start.settings, "img_size": crop, "drop_path_rate": 0.1}
    if is_upernet:
        backbone["out_indices"] = start.out_indices
    model: dict[str, Any] = {}
    if start.settings["type"] == "DiversePatchViT":
        model = dict(type="DiverseEncoderDecoder", diversity=_diversity(plan))
    preprocessor = dict(mean=plan.mean, std=plan.std, size=crop)
    if len(plan.mean) not in (1, 3):
        preprocessor = dict(type="BandDataPreProcessor", **preprocessor)
    model["data_preprocessor"] = preprocessor
    model["backbone"] = backbone
    model |= _upernet(plan) if is_upernet else _linear(plan)
    stride = 2 * plan.sizes.crop // 3
    model["test_cfg"] = (
        dict(_delete_=True, mode="whole")
        if plan.sizes.is_whole
        else dict(crop_size=crop, stride=(stride, stride))
    )
    return [
        f"num_classes = {len(plan.classes.labels)}",
        *_weight_lines(plan),
        f"model = {_text(model)}",
    ]


def _weight_lines(plan: Plan) -> list[str]:
    if plan.weights is None:
        return []
    return [
        "# Rare classes weigh more: 1/√(share of the pixels), with a mean of 1 over the pixels.",
        f"loss = dict(class_weight={_text(plan.weights)})",
    ]


def _upernet(plan: Plan) -> dict[str, Any]:
    """Settings that depend on width and patches; ``channels`` grow with the width."""
    width = plan.start.embed_dims
    shared = _head(plan) if width <= 192 else dict(channels=width // 3, **_head(plan))
    neck: dict[str, Any] = dict(embed_dim=width)
    if plan.start.patch_size < 14:
        neck["rescales"] = [2, 1, 0.5, 0.25]
    return dict(
        neck=neck,
        decode_head=dict(in_channels=[width] * 4, **shared),
        auxiliary_head=dict(in_channels=width, **shared),
    )


def _linear(plan: Plan) -> dict[str, Any]:
    width = plan.start.embed_dims
    return dict(decode_head=dict(in_channels=width, channels=width, **_head(plan)))


def _head(plan: Plan) -> dict[str, Any]:
    weighted = {} if plan.weights is None else dict(loss_decode=Name("loss"))
    return dict(num_classes=Name("num_classes"), **weighted)


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
    shared = dict(by_epoch=False)
    warmup = dict(type="LinearLR", start_factor=1e-3, **shared, begin=0, end=s.warmup_iters)
    rest = dict(type="PolyLR", eta_min=0.0, power=1.0, **shared)
    hooks: dict[str, Any] = dict(checkpoint=dict(interval=s.val_interval))
    if plan.bands:
        hooks["visualization"] = dict(type="LoadedImageVisualizationHook")
    return [
        f"max_iters = {s.max_iters}",
        f"optim_wrapper = dict(optimizer=dict(lr={s.lr:g}))",
        f"param_scheduler = [{_text(warmup)}, {_text(rest)[:-1]}, begin={s.warmup_iters}, "
        "end=max_iters),]",
        f"train_cfg = dict(max_iters=max_iters, val_interval={s.val_interval})",
        "# The newest checkpoint is kept, and the one with the best mean IoU.",
        f"default_hooks = {_text(hooks)}",
    ]


class Name(str):
    """Code to write as it is, such as the name of a variable."""


def _arguments(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={_text(v)}" for k, v in settings.items())


def _text(value: Any) -> str:
    """A literal with double quotes; dicts of names are calls of ``dict``."""
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        if all(key.isidentifier() and not iskeyword(key) for key in value):
            return f"dict({_arguments(value)})"
        return f"{{{', '.join(f'{_text(k)}: {_text(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        inner = ", ".join(map(_text, value))
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{comma})"
    return repr(value)
