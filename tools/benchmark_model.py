"""Time backbones or segmentors: tools/benchmark_model.py CONFIG… [--baseline mmseg-vit …].

All candidates run in one process, in turn: each config's model with each of --backends, and
baselines of a config's size. The table has times, ratios, images a second, peak memory above the
weights, and the error of the features against the explicit backend in float64. Training is a
forward and a backward pass, without the optimiser's step.

Baselines: 'maps' is the same model as the papers' code computes it, where a 1×1 convolution mixes
full maps; 'mmseg-vit' and 'timm-vit' are plain ViTs; 'timm-cait' has talking heads.
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
    from mmengine.model import revert_sync_batchnorm
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
    from mmseg_deepvit.command_line import benchmark
    from mmseg_deepvit.command_line.benchmark import Figures
    from mmseg_deepvit.inference import input_channels
    from mmseg_deepvit.tables import markdown_table, megabytes

    class FullMapAttention(HeadMixingAttention):
        """Head-mixing attention as the papers' code computes it: full maps, 1×1 convolutions."""

        def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            maps = (q @ k.transpose(-2, -1)) * self.scale
            if self.pre_mix is not None:
                maps = F.conv2d(maps, self.pre_mix.weight[:, :, None, None], self.pre_mix.bias)
            maps = maps.softmax(dim=-1)
            weight, scale = self.post_mix_of(q.shape[2])
            if weight is not None and self.post_mix is not None:
                maps = F.conv2d(maps, weight[:, :, None, None], self.post_mix.bias)
            return (normalize_maps(maps, self.mix_norm) * scale) @ v


#: :data:`mmseg_deepvit.attention.BACKENDS`, which help needs without PyTorch.
BACKENDS = ("auto", "explicit", "blockwise", "native", "fused")
BASELINES = ("maps", "mmseg-vit", "timm-vit", "timm-cait")


class Candidate(NamedTuple):
    """A model to time.

    Attributes:
        name: Name in the table.
        model: Model that is timed.
        features: Function from images to features of the backbone.
        channels: Number of channels of the images.
        build: Function that builds the model again, with its first weights; None for baselines of
            other packages.
        exact: Function that builds the same model in its explicit form; None likewise.
        amp: Whether the model runs under autocast to bfloat16.
    """

    name: str
    model: nn.Module
    features: Callable[[Tensor], Any]
    channels: int
    build: Callable[[], nn.Module] | None = None
    exact: Callable[[], nn.Module] | None = None
    amp: bool = False


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("configs", nargs="+", metavar="config", help="configs of the models")
    size = "height and width in pixels (512)"
    parser.add_argument("--shape", nargs="+", type=int, default=[512], help=size)
    parser.add_argument("--batch-size", type=int, default=1, help="images at a time (1)")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=["auto"])
    parser.add_argument("--baseline", nargs="+", choices=BASELINES, default=[])
    parser.add_argument("--mode", nargs="+", choices=["eval", "train"], default=["eval", "train"])
    parser.add_argument("--whole", action="store_true", help="the segmentor, not the backbone only")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each (5)")
    cli.add_device_option(parser)
    cast = "under autocast to bfloat16, or with 'both' in both ways"
    parser.add_argument("--amp", nargs="?", const="bf16", choices=["bf16", "both"], help=cast)
    shares = "shares of attention and linear layers in the time, by PyTorch's profiler"
    parser.add_argument("--profile", action="store_true", help=shares)
    parser.add_argument("--no-error", action="store_true", help="skip the float64 comparison")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    cli.add_config_options(parser)
    args = parser.parse_args()
    cli.check_at_least(parser, args, 1, "batch_size", "rounds")
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
    """The config's model with an attention backend, with the same random weights each time.

    The backend ``'maps'`` is attention as the papers' code computes it.
    """
    torch.manual_seed(0)
    cfg.model.backbone.pop("init_cfg", None)  # other weights take no other time
    model: Any = MODELS.build(cfg.model if args.whole else cfg.model.backbone)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, HeadMixingAttention):
            module.backend = "explicit" if backend == "maps" else backend
            if backend == "maps":
                module.__class__ = FullMapAttention
    if args.device.type == "cpu":
        model = revert_sync_batchnorm(model)  # SyncBatchNorm refuses a CPU
    built: nn.Module = model.to(args.device)
    return built


def plain_candidate(
    name: str, ours: ViTTrunk, channels: int, args: argparse.Namespace
) -> Candidate:
    """A model of mmseg or timm of the same width, heads and MLP, and as deep as ours runs."""
    block: Any = ours.blocks[0]
    depth, heads = max(ours.out_indices) + 1, ours.num_heads
    sizes: dict[str, Any] = dict(
        img_size=tuple(args.shape),
        patch_size=ours.patch_size[0],
        mlp_ratio=block.mlp.fc2.in_features // ours.embed_dims,  # mmseg takes integers only
        num_heads=heads,
    )
    if name == "mmseg-vit":
        sizes |= dict(embed_dims=ours.embed_dims, num_layers=depth, out_indices=ours.out_indices)
        model: Any = MMSegViT(in_channels=channels, **sizes)
        return Candidate(name, model.to(args.device), model, channels)
    sizes |= dict(embed_dim=ours.embed_dims, depth=depth, num_classes=0, in_chans=channels)
    model = (TimmViT if name == "timm-vit" else Cait)(**sizes)
    return Candidate(name, model.to(args.device), model.forward_features, channels)


def own_candidate(name: str, backend: str, cfg: Any, args: argparse.Namespace) -> Candidate:
    """A config's model with an attention backend."""
    again = partial(build, cfg, args, backend)
    model, channels = again(), input_channels(cfg.model)
    return Candidate(name, model, model, channels, again, partial(build, cfg, args, "explicit"))


def make_candidates(args: argparse.Namespace) -> list[Candidate]:
    """All candidates, our own models first."""
    candidates: list[Candidate] = []
    for config in args.configs:
        cfg = cli.load_config(config, args.cfg_options)
        prefix = "ours" if len(args.configs) == 1 else Path(config).stem
        with cli.config_errors(config):
            for backend in args.backends:
                candidates.append(own_candidate(f"{prefix}, {backend}", backend, cfg, args))
            ours = candidates[0].model
            for name in args.baseline:
                if not isinstance(ours, ViTTrunk):
                    kind = type(ours).__name__
                    raise UserError(f"--baseline needs one of our ViTs as backbone, got {kind}")
                if name == "maps":
                    candidates.append(own_candidate(name, name, cfg, args))
                else:
                    candidates.append(plain_candidate(name, ours, candidates[0].channels, args))
    if args.amp == "both":
        cast = [c._replace(name=f"{c.name}, bf16", amp=True) for c in candidates]
        return [c for pair in zip(candidates, cast, strict=True) for c in pair]
    return [c._replace(amp=args.amp is not None) for c in candidates]


def step(candidate: Candidate, images: Tensor, args: argparse.Namespace, train: bool) -> None:
    """Run one inference, or one forward and backward pass."""
    model: Any = candidate.model
    cast = torch.autocast(images.device.type, torch.bfloat16, enabled=candidate.amp)
    with torch.set_grad_enabled(train), cast:
        if not args.whole:
            features = candidate.features(images)
            features = [features] if isinstance(features, Tensor) else features
            losses = [f.float().square().mean() for f in features]
        elif train:
            labels = torch.zeros(1, *images.shape[2:], dtype=torch.long, device=images.device)
            samples = [SegDataSample(gt_sem_seg=PixelData(data=labels)) for _ in images]
            losses = [v for k, v in model.loss(images, samples).items() if "loss" in k]
        else:
            model.encode_decode(images, [dict(img_shape=images.shape[2:])] * len(images))
    if train:
        torch.autograd.backward(torch.stack(losses).sum())
        model.zero_grad(set_to_none=True)


def feature_error(candidate: Candidate, images: Tensor) -> float | None:
    """Largest relative error of our model's last features against explicit float64.

    Models are built again, as training has changed the running statistics.
    """
    if candidate.build is None or candidate.exact is None:
        return None
    with torch.no_grad():
        exact = candidate.exact().double().eval()(images.double())[-1]
        model = candidate.build().eval()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=candidate.amp):
            return benchmark.relative_error(model(images)[-1], exact)


def measure(args: argparse.Namespace, candidates: list[Candidate]) -> list[Figures]:
    """Times, memory and errors of each candidate."""
    images = {
        channels: torch.randn(args.batch_size, channels, *args.shape, device=args.device)
        for channels in {c.channels for c in candidates}
    }
    results: list[Figures] = [{"name": c.name} for c in candidates]
    for mode in args.mode:
        train = mode == "train"
        for candidate in candidates:
            candidate.model.train(train)
        calls = {c.name: partial(step, c, images[c.channels], args, train) for c in candidates}
        times = benchmark.interleaved_times(calls, args.rounds)
        for result in results:
            call = calls[result["name"]]
            result[f"{mode}_seconds"] = times[result["name"]]
            result[f"{mode}_bytes"] = benchmark.peak_memory(call, args.device)
            if args.profile:
                result[f"{mode}_shares"] = benchmark.time_shares(call, args.device)
    if not (args.no_error or args.whole):
        for result, candidate in zip(results, candidates, strict=True):
            if isinstance(candidate.model, ViTTrunk):
                result["error"] = feature_error(candidate, images[candidate.channels])
    return results


def table(args: argparse.Namespace, results: list[Figures]) -> str:
    """The figures as a table; ratios are times over the first candidate's."""
    ratio = "× ours" if len(args.configs) == 1 else "× first"
    header = ["model"]
    for mode in args.mode:
        header += [f"{mode}, ms (quartiles)", ratio, "images/s", f"{mode}, MB"]
        header += ["attention", "linear"] * args.profile
    rows = []
    for result in results:
        row = [result["name"]]
        for mode in args.mode:
            times, first = result[f"{mode}_seconds"], results[0][f"{mode}_seconds"]
            row += [str(times), f"{times.median / first.median:.2f}"]
            row.append(f"{args.batch_size / times.median:.3g}")
            row.append(megabytes(result[f"{mode}_bytes"]))
            if args.profile:
                shares = result[f"{mode}_shares"]
                row += ["", ""] if shares is None else [f"{share:.0%}" for share in shares]
        error = result.get("error")
        rows.append([*row, "" if error is None else f"{error:.1e}"])
    return markdown_table([*header, "error"], rows)


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    candidates = make_candidates(args)
    machine = benchmark.describe_machine(args.device)
    print(", ".join(f"{k} {v}" for k, v in machine.items()), flush=True)
    with cli.config_errors(" ".join(args.configs)):
        results = measure(args, candidates)
    print(table(args, results))
    if args.json:
        keys = ("configs", "shape", "batch_size", "whole", "rounds", "amp", "cfg_options")
        benchmark.write_json(args.json, machine, {k: getattr(args, k) for k in keys}, results)


if __name__ == "__main__":
    cli.run(main)
