"""Time backbones or whole segmentors: tools/benchmark_model.py CONFIG… [--baseline mmseg-vit …].

All candidates run in one process, in turn: each config's model with each of --backends, and
baselines of a config's size. It prints times, ratios, images a second, peak memory above the
weights, and the error of the features against the explicit backend in float64. Training is a
forward and a backward pass, without the optimiser's step.

Baselines: 'maps' is the same model as the papers' own code computes it, whole maps mixed by a 1×1
convolution; 'mmseg-vit' and 'timm-vit' are plain ViTs; 'timm-cait' has talking heads.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    import torch
    import torch.nn.functional as F
    from mmengine.structures import PixelData
    from mmseg.models.backbones import VisionTransformer as MMSegViT
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample
    from timm.models.cait import Cait
    from timm.models.vision_transformer import VisionTransformer as TimmViT
    from torch import Tensor, nn

    from mmseg_deepvit.attention import HeadMixingAttention
    from mmseg_deepvit.attention.explicit import normalize_maps
    from mmseg_deepvit.backbones.vit import ViTTrunk
    from mmseg_deepvit.command_line.benchmark import (
        attention_share,
        describe_machine,
        interleaved_times,
        peak_memory,
        relative_error,
        write_json,
    )
    from mmseg_deepvit.tables import markdown_table, megabytes

    class WholeMapAttention(HeadMixingAttention):
        """Head-mixing attention as the papers' code computes it: whole maps, 1×1 convolutions."""

        def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            maps = (q @ k.transpose(-2, -1)) * self.scale
            if self.pre_mix is not None:
                maps = F.conv2d(maps, self.pre_mix.weight[:, :, None, None], self.pre_mix.bias)
            maps = maps.softmax(dim=-1)
            weight, scale = self.post_mix_of(q.shape[2])
            if weight is not None and self.post_mix is not None:
                maps = F.conv2d(maps, weight[:, :, None, None], self.post_mix.bias)
            return (normalize_maps(maps, self.mix_norm) * scale) @ v


#: Those of :data:`mmseg_deepvit.attention.BACKENDS`, which help needs without PyTorch.
BACKENDS = ("auto", "explicit", "blockwise", "fused")
BASELINES = ("maps", "mmseg-vit", "timm-vit", "timm-cait")


class Candidate(NamedTuple):
    """A model to time.

    Attributes:
        name: In the table.
        model: What is timed.
        features: Its backbone's features of images.
        anew: Builds it again, at its first weights; None for models of others.
        exact: Builds the same function in its explicit form; None likewise.
        amp: Whether it runs under autocast to bfloat16.
    """

    name: str
    model: nn.Module
    features: Callable[[Tensor], Any]
    anew: Callable[[], nn.Module] | None = None
    exact: Callable[[], nn.Module] | None = None
    amp: bool = False


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("configs", nargs="+", metavar="config", help="whose models are measured")
    parser.add_argument(
        "--shape", nargs="+", type=int, default=[512], help="height and width in pixels (512)"
    )
    parser.add_argument("--batch-size", type=int, default=1, help="images at a time (1)")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=["auto"])
    parser.add_argument("--baseline", nargs="+", choices=BASELINES, default=[])
    parser.add_argument("--mode", nargs="+", choices=["eval", "train"], default=["eval", "train"])
    parser.add_argument("--whole", action="store_true", help="the segmentor, not the backbone only")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each (5)")
    cli.add_device_option(parser)
    parser.add_argument(
        "--amp",
        nargs="?",
        const="bf16",
        choices=["bf16", "both"],
        help="under autocast to bfloat16, or with 'both' as it is and so",
    )
    parser.add_argument(
        "--profile", action="store_true", help="attention's share of the time, by the profiler"
    )
    parser.add_argument("--no-error", action="store_true", help="skip the float64 comparison")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    cli.add_config_options(parser)
    args = parser.parse_args()
    for name in ("batch_size", "rounds"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    cli.check_shape(parser, args.shape)
    if args.whole and args.baseline:
        parser.error("--baseline compares backbones and does not go with --whole")
    if len({Path(config).stem for config in args.configs}) < len(args.configs):
        parser.error("two configs have the same name")
    if len(args.configs) > 1 and args.baseline:
        parser.error("--baseline is of one config's size and does not go with several")
    if args.json is not None:
        cli.check_out(args.json, "--json", is_folder=False)
    args.shape = (args.shape * 2)[:2]
    args.device = torch.device(cli.pick_device(args.device))
    return args


def build(cfg: Any, args: argparse.Namespace, backend: Any) -> nn.Module:
    """The config's model with an attention backend, at the same random weights each time."""
    torch.manual_seed(0)
    cfg.model.backbone.pop("init_cfg", None)  # other weights take no other time
    model = MODELS.build(cfg.model if args.whole else cfg.model.backbone)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, HeadMixingAttention):
            module.backend = backend
        if isinstance(module, nn.SyncBatchNorm) and args.device.type == "cpu":
            module.forward = partial(_batch_norm_forward, module)  # type: ignore[method-assign]
    return model.to(args.device)


def build_whole_maps(cfg: Any, args: argparse.Namespace) -> nn.Module:
    """The same, with attention as the papers' code computes it."""
    model = build(cfg, args, "explicit")
    for module in model.modules():
        if isinstance(module, HeadMixingAttention):
            module.__class__ = WholeMapAttention
    return model


def _batch_norm_forward(norm: nn.SyncBatchNorm, x: Tensor) -> Tensor:
    """SyncBatchNorm refuses a CPU; in one process it is a BatchNorm."""
    mean, var = norm.running_mean, norm.running_var
    batch = norm.training
    momentum = norm.momentum or 0.0
    return F.batch_norm(x, mean, var, norm.weight, norm.bias, batch, momentum, norm.eps)


def baseline(name: str, ours: ViTTrunk, args: argparse.Namespace) -> Candidate:
    """A model of the same width, heads and MLP, and as deep as ours runs."""
    block: Any = ours.blocks[0]
    patch = ours.patch_size[0]
    sizes: dict[str, Any] = dict(img_size=tuple(args.shape), patch_size=patch)
    depth = max(ours.out_indices) + 1
    # mmseg takes whole ratios only.
    ratio = block.mlp.fc1.out_features // ours.embed_dims
    if name == "mmseg-vit":
        model: Any = MMSegViT(
            **sizes,
            embed_dims=ours.embed_dims,
            num_layers=depth,
            num_heads=ours.num_heads,
            mlp_ratio=ratio,
            out_indices=ours.out_indices,
        )
        return Candidate(name, model.to(args.device), model)
    widths: dict[str, Any] = dict(
        embed_dim=ours.embed_dims,
        depth=depth,
        num_heads=ours.num_heads,
        mlp_ratio=ratio,
        num_classes=0,
    )
    model = (TimmViT if name == "timm-vit" else Cait)(**sizes, **widths)
    return Candidate(name, model.to(args.device), model.forward_features)


def make_candidates(args: argparse.Namespace) -> list[Candidate]:
    """What is to be timed, our own models first."""
    candidates: list[Candidate] = []
    for config in args.configs:
        cfg = cli.load_config(config, args.cfg_options)
        prefix = "ours" if len(args.configs) == 1 else Path(config).stem
        with cli.config_errors(config):
            for backend in args.backends:
                anew = partial(build, cfg, args, backend)
                candidates.append(own_candidate(f"{prefix}, {backend}", anew, cfg, args))
            candidates += baselines(candidates[0].model, cfg, args)
    if args.amp == "both":
        cast = [c._replace(name=f"{c.name}, bf16", amp=True) for c in candidates]
        return [c for pair in zip(candidates, cast, strict=True) for c in pair]
    return [c._replace(amp=args.amp is not None) for c in candidates]


def own_candidate(
    name: str, anew: Callable[[], nn.Module], cfg: Any, args: argparse.Namespace
) -> Candidate:
    """A model of a config, in a form of attention or another."""
    model = anew()
    return Candidate(name, model, model, anew, partial(build, cfg, args, "explicit"))


def baselines(ours: nn.Module, cfg: Any, args: argparse.Namespace) -> list[Candidate]:
    """What a config's backbone is compared with."""
    candidates = []
    if args.baseline and not isinstance(ours, ViTTrunk):
        raise UserError(f"--baseline needs one of our ViTs as backbone, got {type(ours).__name__}")
    for name in args.baseline:
        if name == "maps":
            candidates.append(own_candidate(name, partial(build_whole_maps, cfg, args), cfg, args))
        else:
            assert isinstance(ours, ViTTrunk)
            candidates.append(baseline(name, ours, args))
    return candidates


def step(candidate: Candidate, images: Tensor, args: argparse.Namespace, train: bool) -> None:
    """One inference, or one forward and backward pass."""
    model, device = candidate.model, images.device.type
    cast = torch.autocast(device, torch.bfloat16, enabled=candidate.amp)
    with torch.set_grad_enabled(train), cast:
        if args.whole:
            losses = _whole_step(model, images, train)
        else:
            features = candidate.features(images)
            features = [features] if isinstance(features, Tensor) else features
            losses = [f.float().square().mean() for f in features]
    if train:
        torch.stack(losses).sum().backward()
        model.zero_grad(set_to_none=True)


def _whole_step(model: Any, images: Tensor, train: bool) -> list[Tensor]:
    if not train:
        model.encode_decode(images, [dict(img_shape=images.shape[2:])] * len(images))
        return []
    labels = torch.zeros(1, *images.shape[2:], dtype=torch.long, device=images.device)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=labels)) for _ in images]
    return [v for k, v in model.loss(images, samples).items() if "loss" in k]


def feature_error(candidate: Candidate, images: Tensor) -> float:
    """Largest relative error of our model's last features against explicit float64.

    Models are built anew: training has moved the running statistics.
    """
    assert candidate.anew is not None
    assert candidate.exact is not None
    with torch.no_grad():
        exact = candidate.exact().double().eval()(images.double())[-1]
        model = candidate.anew().eval()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=candidate.amp):
            return relative_error(model(images)[-1], exact)


def measure(args: argparse.Namespace, candidates: list[Candidate]) -> list[dict]:
    """Times, memory and errors, one entry for each candidate."""
    images = torch.randn(args.batch_size, 3, *args.shape, device=args.device)
    results: list[dict] = [{"name": c.name} for c in candidates]
    for mode in args.mode:
        train = mode == "train"
        for candidate in candidates:
            candidate.model.train(train)
        calls = {c.name: partial(step, c, images, args, train) for c in candidates}
        times = interleaved_times(calls, args.rounds)
        for result in results:
            result[f"{mode}_seconds"] = times[result["name"]]
            call = calls[result["name"]]
            result[f"{mode}_bytes"] = peak_memory(call, args.device)
            if args.profile:
                result[f"{mode}_attention"] = attention_share(call, args.device)
    if not (args.no_error or args.whole):
        for result, candidate in zip(results, candidates, strict=True):
            if isinstance(candidate.model, ViTTrunk):
                result["error"] = feature_error(candidate, images)
    return results


def table(args: argparse.Namespace, results: list[dict]) -> str:
    """The figures; ratios are times over the first candidate's."""
    header = ["model"]
    for mode in args.mode:
        ratio = "× ours" if len(args.configs) == 1 else "× first"
        header += [f"{mode}, ms (quartiles)", ratio, "images/s", f"{mode}, MB"]
        header += ["attention"] * args.profile
    rows = []
    for result in results:
        row = [result["name"]]
        for mode in args.mode:
            times, first = result[f"{mode}_seconds"], results[0][f"{mode}_seconds"]
            row += [str(times), f"{times.median / first.median:.2f}"]
            row.append(f"{args.batch_size / times.median:.3g}")
            row.append(megabytes(result[f"{mode}_bytes"]))
            if args.profile:
                share = result[f"{mode}_attention"]
                row.append("" if share is None else f"{share:.0%}")
        error = result.get("error")
        rows.append([*row, "" if error is None else f"{error:.1e}"])
    return markdown_table([*header, "error"], rows)


def main() -> None:
    """Measure and print."""
    args = parse_args()
    candidates = make_candidates(args)
    machine = describe_machine(args.device)
    print(", ".join(f"{k} {v}" for k, v in machine.items()), flush=True)
    with cli.config_errors(" ".join(args.configs)):
        results = measure(args, candidates)
    print(table(args, results))
    if args.json:
        keys = ("configs", "shape", "batch_size", "whole", "rounds", "amp", "cfg_options")
        write_json(args.json, machine, {k: getattr(args, k) for k in keys}, results)


if __name__ == "__main__":
    cli.run(main)
