"""Explore a model on a local web page: tools/explore.py [CONFIG] CHECKPOINT [--run DIR].

Drop an image: the page shows its classes. Click on a point: it shows what each head of each block
attends to there, before and after mixing, and the tokens' colours. Another tab has measures of
collapse over the blocks. With --run a third one follows a run in training.

The page is served to this machine alone unless --host says otherwise. No image leaves it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmseg_deepvit import command_line as cli

if not cli.only_help():
    from mmseg_deepvit import inference
    from mmseg_deepvit.errors import UserError
    from mmseg_deepvit.explorer import require_nicegui
    from mmseg_deepvit.explorer.looking import ExploredModel


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    config = "config that the checkpoint was trained with; left out, the one in the checkpoint"
    parser.add_argument("config", nargs="?", help=config)
    parser.add_argument("checkpoint", help="file that training saved")
    images = "sample images to choose from: files, folders, patterns"
    parser.add_argument("--images", nargs="+", default=[], metavar="IMAGE", help=images)
    parser.add_argument("--run", metavar="WORK_DIR", help="work dir of a run to follow")
    host = "address to listen on (127.0.0.1); 0.0.0.0 opens the page to the network"
    parser.add_argument("--host", default="127.0.0.1", help=host)
    parser.add_argument("--port", type=int, help="8080, or a free one where that is taken")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    cli.add_device_option(parser)
    cli.add_config_options(parser)
    args = parser.parse_args()
    if args.port is not None and not 1 <= args.port <= 65535:
        parser.error(f"--port must be from 1 to 65535, got {args.port}")
    return args


def load(args: argparse.Namespace) -> ExploredModel:
    """Load the model that the command line names."""
    if args.config is not None:
        cfg = cli.load_config(args.config, args.cfg_options)
    else:
        cfg = cli.saved_config(args.checkpoint, args.cfg_options)
    config = args.config or f"in {args.checkpoint}"
    with cli.config_errors(config):
        model = inference.load_segmentor(cfg, args.checkpoint, cli.pick_device(args.device))
    file = Path(args.checkpoint)
    title = f"{Path(args.config).stem if args.config else file.resolve().parent.name} · {file.name}"
    return ExploredModel(model, config, title)


def main() -> None:
    """Load the model and serve the page."""
    args = parse_args()
    require_nicegui()
    from mmseg_deepvit.explorer.server import is_loopback, pick_port, serve

    images = inference.find_images(args.images) if args.images else []
    if args.run is not None and not Path(args.run).is_dir():
        raise UserError(f"--run {args.run} is no folder; give the work dir of a run")
    port = pick_port(args.host, args.port)
    model = load(args)
    if not is_loopback(args.host):
        print("note: --host opens the page to the network: all who reach it can use the model")
    serve(model, images, args.run, args.host, port, not args.no_browser)


if __name__ == "__main__":
    cli.run(main)
