"""Make data, train, test on held-out images, draw and compare, in minutes on a CPU.

The results are in --work-dir (work_dirs/demo): data/ (synthetic dermoscopy), run/ (training), test/
(scores), pictures/ (overlays of the held-out images), overview.jpg (image, truth, Otsu's threshold,
model).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError

if not cli.only_help():
    import cv2
    import numpy as np
    import torch
    from mmseg.evaluation import IoUMetric

    from mmseg_deepvit.command_line.tool_process import newest_scores, run_tool
    from mmseg_deepvit.datasets.demo import otsu_lesion_mask, write_demo_dataset
    from mmseg_deepvit.label_pictures import draw_outline, write_jpeg

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"
CONFIG = ROOT / "configs" / "upernet_deepvit_demo.py"
IMAGES, MASKS = "ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("--work-dir", default="work_dirs/demo", help="folder of the results")
    change = "override the config"
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help=change)
    return parser.parse_args()


def held_out(data: Path) -> list[tuple[Path, np.ndarray, np.ndarray]]:
    """Name, image (H, W, 3) and lesion mask (H, W) of each held-out image."""
    return [
        (path, _read(path), _read(data / MASKS / f"{path.stem}_segmentation.png", 0) > 0)
        for path in sorted((data / IMAGES).glob("*.jpg"))
    ]


def _read(path: Path, how: int = 1) -> np.ndarray:
    """Read a picture of this demo."""
    pixels = cv2.imread(str(path), how)
    assert pixels is not None, path
    return pixels


def otsu_scores(samples: Sequence[tuple[Path, np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Score mIoU and mDice of Otsu's threshold, in percent, by mmseg's metric."""
    areas = [
        IoUMetric.intersect_and_union(
            torch.from_numpy(otsu_lesion_mask(image)).long(), torch.from_numpy(mask).long(), 2, 255
        )
        for _, image, mask in samples
    ]
    totals = [sum(parts) for parts in zip(*areas, strict=True)]
    metrics = IoUMetric.total_area_to_metrics(*totals, ["mIoU", "mDice"])
    return {f"m{name}": 100 * float(np.mean(metrics[name])) for name in ("IoU", "Dice")}


def overview(samples: Sequence[tuple[Path, np.ndarray, np.ndarray]], pictures: Path) -> np.ndarray:
    """Columns of image, truth, Otsu and model, outlined on the image, for a few samples."""
    columns = []
    for path, image, mask in samples:
        model = _read(pictures / f"{path.stem}_labels.png", cv2.IMREAD_UNCHANGED) == 1
        parts = [image, *(draw_outline(image, m) for m in (mask, otsu_lesion_mask(image), model))]
        columns.append(
            np.concatenate([cv2.copyMakeBorder(p, 2, 2, 2, 2, 0, value=(255,) * 3) for p in parts])
        )
    rows = np.concatenate(columns, axis=1)
    names = np.full((len(rows), 72, 3), 255, np.uint8)
    for i, name in enumerate(("image", "truth", "Otsu", "DeepViT")):
        y = int((i + 0.5) * len(rows) / 4)
        cv2.putText(names, name, (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([names, rows], axis=1)


def main() -> None:
    """Make data, train, test, draw, compare."""
    args = parse_args()
    start = time.monotonic()
    work = cli.check_out(args.work_dir, "--work-dir", is_folder=True).resolve()
    data = work / "data"
    if (work / "run" / "last_checkpoint").exists():
        print(f"Going on with the earlier demo in {work}: remove that folder to start from nothing")
    print(f"Making a synthetic dermoscopy set in {data}", flush=True)
    try:
        write_demo_dataset(data)
    except FileExistsError as error:
        raise UserError(str(error)) from error
    options = [
        "--cfg-options",
        *(f"{part}_dataloader.dataset.data_root={data}" for part in ("train", "val", "test")),
        *args.cfg_options,
    ]
    training = [CONFIG, "--work-dir", work / "run", "--resume", *options]
    run_tool(TOOLS / "train.py", training, work / "train.log")
    checkpoint = (work / "run" / "last_checkpoint").read_text().strip()
    arguments = [CONFIG, checkpoint, "--work-dir", work / "test", *options]
    run_tool(TOOLS / "test.py", arguments, work / "test.log")
    pictures = work / "pictures"
    files = ["--config", CONFIG, "--checkpoint", checkpoint, "--out-dir", pictures]
    arguments = [data / IMAGES, *files, *options]
    run_tool(TOOLS / "predict.py", arguments, work / "predict.log")

    samples = held_out(data)
    # A PNG of noisy skin would be large.
    write_jpeg(work / "overview.jpg", overview(samples[:10], pictures), quality=85)
    model, otsu = json.loads(newest_scores(work / "test").read_text()), otsu_scores(samples)
    print(f"\nOn {len(samples)} held-out images, after {time.monotonic() - start:.0f} s in total:")
    print(f"  DeepViT + UPerNet  mIoU {model['mIoU']:.1f}  mDice {model['mDice']:.1f}")
    print(f"  Otsu's threshold   mIoU {otsu['mIoU']:.1f}  mDice {otsu['mDice']:.1f}")
    print(f"Overlays: {pictures}\nImage, truth, Otsu, model: {work / 'overview.jpg'}")


if __name__ == "__main__":
    cli.run(main)
