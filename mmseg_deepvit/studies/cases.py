"""Good and bad cases of a run: the test images with the highest and the lowest Dice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmseg.apis import inference_model
from mmseg.models import BaseSegmentor
from mmseg.registry import DATASETS

from ..inference import draw_outline, read_image
from ..label_pictures import write_jpeg

#: Number of best and of worst cases, and the side of their pictures in pixels.
NUM_CASES = 3
SIDE = 96


def draw_cases(path: Path, model: BaseSegmentor, cfg: Config, dice: Mapping[str, float]) -> None:
    """Draw image, truth and prediction of the best and the worst cases.

    Args:
        path: Path of a JPEG. Its columns are images with their Dice above, the worst ones left.
        model: Segmentor of :func:`~mmseg_deepvit.inference.load_segmentor`.
        cfg: Config of the model; its ``test_dataloader`` has the images and two classes.
        dice: Dice of the test's images, in percent, by file name.

    Raises:
        UserError: A file cannot be read.
    """
    ranked = sorted(dice, key=lambda name: dice[name])
    chosen = list(dict.fromkeys([*ranked[:NUM_CASES], *ranked[-NUM_CASES:]]))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    infos = {Path(i["img_path"]).name: i for i in map(dataset.get_data_info, range(len(dataset)))}
    columns = []
    for name in chosen:
        image = read_image(Path(infos[name]["img_path"]))
        truth = read_image(Path(infos[name]["seg_map_path"]))[..., 0] > 0
        found = inference_model(model, image).pred_sem_seg.data[0].cpu().numpy() > 0
        columns.append(_column(f"{dice[name]:.1f}", image, [truth, found]))
    write_jpeg(path, np.concatenate(columns, axis=1), quality=75)


def _column(title: str, image: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    head = np.full((16, SIDE, 3), 255, np.uint8)
    cv2.putText(head, title, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    parts = [image, *(draw_outline(image, mask) for mask in masks)]
    small = [cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for part in parts]
    column = np.concatenate([head, *small])
    return cv2.copyMakeBorder(column, 0, 0, 1, 1, cv2.BORDER_CONSTANT, value=(255, 255, 255))
