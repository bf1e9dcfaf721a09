"""Draw the attention of points: tools/visualize_attention.py IMAGE --config C --out-dir D.

NAME_xX_yY_blockB_heads.png shows the attention of a point's patch in one block, head by head: P
(probabilities), and A (the mixed maps that meet the values) where heads are mixed.
NAME_xX_yY_overview.png shows all blocks, with the mean over the heads of P and of |A|.
NAME_token_pca.png shows the patch tokens of all blocks, their first three principal components as
RGB.

The last picture alone is drawn of backbones whose blocks do not attend from all patches to all
patches (Swin, MiT, PVT, Twins, CNNs).
"""

from __future__ import annotations

import argparse

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    import numpy as np
    import torch
    from mmengine.config import Config
    from mmseg.models import BaseSegmentor

    from mmseg_deepvit import inference
    from mmseg_deepvit.analysis import attention_pictures
    from mmseg_deepvit.analysis.attention_pictures import Point, Scene
    from mmseg_deepvit.analysis.clicking import click_points
    from mmseg_deepvit.analysis.point_attention import lay_grid, read_attention, trained_tokens
    from mmseg_deepvit.analysis.token_pca import align_signs, token_pca
    from mmseg_deepvit.inference.pipeline import PredictionPipeline, prediction_steps
    from mmseg_deepvit.label_pictures import as_picture
    from mmseg_deepvit.tokens.backbone_facts import count_prefix_tokens
    from mmseg_deepvit.tokens.patch_tokens import read_layers
    from mmseg_deepvit.tokens.point_rows import PointRows


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("image", metavar="IMAGE", help="image file")
    parser.add_argument("--config", required=True, help="config of the model")
    parser.add_argument("--checkpoint", help="file that training saved (the config's init)")
    parser.add_argument("--out-dir", required=True, help="folder for the pictures")
    where = parser.add_mutually_exclusive_group()
    pixels = "pixels of IMAGE (its centre)"
    where.add_argument("--points", nargs="+", type=read_point, metavar="X,Y", help=pixels)
    where.add_argument("--click", action="store_true", help="click on points in a window")
    blocks = "blocks from 0, -1 the last (first, middle, last)"
    parser.add_argument("--layers", nargs="+", type=int, help=blocks)
    size = "longest side of the image at most (that of the training crop), or height and width"
    parser.add_argument("--shape", nargs="+", type=int, metavar="PIXELS", help=size)
    cli.add_device_option(parser)
    cli.add_config_options(parser)
    args = parser.parse_args()
    cli.check_shape(parser, args.shape)
    return args


def read_point(text: str) -> Point:
    """Read X,Y as a point."""
    try:
        x, y = map(int, text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected X,Y in pixels, got {text!r}") from error
    return Point(x, y)


def load_model(args: argparse.Namespace, cfg: Config) -> BaseSegmentor:
    """Build the segmentor with the weights of the checkpoint, or of the config's init."""
    device = cli.pick_device(args.device)
    with cli.config_errors(args.config):
        if args.checkpoint is not None:
            return inference.load_segmentor(cfg, args.checkpoint, device)
        model = inference.build_segmentor(cfg, device)
    print("note: no --checkpoint: the weights are those that training starts from")
    return model


def choose_layers(asked: list[int] | None, count: int) -> list[int]:
    """Blocks to draw head by head, each once."""
    asked = [0, count // 2, -1] if asked is None else asked
    for layer in asked:
        if not -count <= layer < count:
            raise UserError(f"--layers {layer}: the model runs blocks 0 to {count - 1}")
    return sorted({layer % count for layer in asked})


def draw_attention(
    scene: Scene,
    points: list[Point],
    blocks: list[PointRows],
    chosen: list[int],
    name: str,
    kind: str,
) -> dict[str, np.ndarray]:
    """Pictures of all points, by file name."""
    pictures = {}
    for i, point in enumerate(points):
        stem = f"{name}_x{point.x}_y{point.y}"
        for block in chosen:
            title = f"{kind}, block {block}: attention from the patch at {point}"
            picture = attention_pictures.draw_heads(scene, point, blocks[block], i, title)
            pictures[f"{stem}_block{block:02d}_heads.png"] = picture
        title = f"{kind}: attention from the patch at {point}, mean over heads"
        pictures[f"{stem}_overview.png"] = attention_pictures.draw_overview(
            scene, point, blocks, i, title
        )
    return pictures


def observe(
    model: BaseSegmentor,
    scene: Scene,
    points: list[Point],
    images: torch.Tensor,
) -> list[PointRows] | None:
    """Attention of the points' patches in every block, None where it is not over all patches."""
    places = [(point.x, point.y) for point in points]
    blocks = read_attention(model.backbone, images, scene.grid, places)
    if blocks is None:
        return None
    tokens = blocks[0].probabilities.shape[-1]
    trained, crop = trained_tokens(model.backbone, model.cfg), inference.training_crop(model.cfg)
    if crop and trained not in (None, tokens):
        print(
            f"note: {tokens} tokens, and the BatchNorm of the maps belongs to {trained}: A is "
            f"shifted; --shape {crop[0]} {crop[1]} avoids it"
        )
    return blocks


def read_input(args: argparse.Namespace, cfg: Config) -> tuple[str, np.ndarray, list[Point]]:
    """Name and values of the image, and the points, all within it."""
    images = inference.find_images([args.image])
    if len(images) > 1:
        raise UserError(
            f"{args.image} names {len(images)} images: give one, as points belong to one"
        )
    pixels = PredictionPipeline(prediction_steps(cfg)).read(images[0])
    height, width = pixels.shape[:2]
    if args.click:
        args.points = [Point(*point) for point in click_points(as_picture(pixels))]
    points = args.points or [Point(width // 2, height // 2)]
    for point in points:
        if not (0 <= point.x < width and 0 <= point.y < height):
            raise UserError(
                f"--points {point.x},{point.y} lies outside the image of {width}×{height} pixels"
            )
    return images[0].stem, pixels, list(dict.fromkeys(points))


def main() -> None:
    """Read one image, run the model, draw."""
    args = parse_args()
    folder = cli.check_out(args.out_dir, "--out-dir", is_folder=True)
    cfg = cli.load_config(args.config, args.cfg_options)
    name, pixels, points = read_input(args, cfg)
    model = load_model(args, cfg)
    kind = type(model.backbone).__name__
    shape = args.shape or [max(inference.training_crop(model.cfg) or (512,))]
    with cli.config_errors(args.config):
        size = shape[0] if len(shape) == 1 else tuple(shape)
        entered = inference.prepare_image(model, pixels, size)
        layers = read_layers(model.backbone, entered.images)
    grids = [
        lay_grid(model.backbone, tokens.grid, entered, pixels.shape[:2])
        for tokens in layers.values()
    ]
    scene = Scene(as_picture(pixels), grids[0], count_prefix_tokens(model.backbone))
    components = align_signs([*map(token_pca, layers.values())])
    named = list(zip(layers, grids, components, strict=True))
    title = f"{kind}: patch tokens, first three principal components (shares of variance)"
    pictures = {f"{name}_token_pca.png": attention_pictures.draw_token_pca(scene, named, title)}
    with cli.config_errors(args.config):
        blocks = observe(model, scene, points, entered.images)
    if blocks is not None:
        chosen = choose_layers(args.layers, len(blocks))
        pictures |= draw_attention(scene, points, blocks, chosen, name, kind)
    elif args.points or args.layers:
        raise UserError(
            f"{kind} has no attention over all patches to show: leave out --points and --layers "
            "for the tokens alone"
        )
    else:
        print(f"note: {kind} has no attention over all patches to show; its tokens alone are drawn")
    for file, picture in pictures.items():
        with cli.writing(folder / file, "--out-dir") as part:
            inference.write_png(part, picture)
    print("\n".join(str(folder / file) for file in sorted(pictures)))


if __name__ == "__main__":
    cli.run(main)
