"""Cases of a run: the test images with the lowest, the middle and the highest Dice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmseg.models import BaseSegmentor
from mmseg.registry import DATASETS

from ..inference import draw_outline, read_image
from ..inference.torch_segmentor import TorchSegmentor
from ..label_pictures import write_jpeg

#: Number of worst, of median and of best cases, and the side of their pictures in pixels.
NUM_CASES = 10
SIDE = 96


def draw_cases(path: Path, model: BaseSegmentor, cfg: Config, dice: Mapping[str, float]) -> None:
    """Draw image, truth and prediction of the worst, the median and the best cases.

    Args:
        path: Path of a JPEG with three strips: worst, median, best. Columns are images, with their
            Dice above.
        model: Segmentor of :func:`~mmseg_deepvit.inference.load_segmentor`.
        cfg: Config of the model; its ``test_dataloader`` has the images and two classes.
        dice: Dice of the test's images, in percent, by file name.

    Raises:
        UserError: A file cannot be read.
    """
    ranked = sorted(dice, key=lambda name: dice[name])
    count = min(NUM_CASES, len(ranked))
    middle = (len(ranked) - count) // 2
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    infos = {Path(i["img_path"]).name: i for i in map(dataset.get_data_info, range(len(dataset)))}

    # mmseg's inference_model would change the pipeline of ``cfg``, which is read again later.
    segmentor = TorchSegmentor(model)

    def column(name: str) -> np.ndarray:
        image = segmentor.read(infos[name]["img_path"])
        truth = read_image(Path(infos[name]["seg_map_path"]))[..., 0] > 0
        found = segmentor.run(image, tta=False, probabilities=False)[0] > 0
        return _column(f"{dice[name]:.1f}", image, [truth, found])

    strips = [
        np.concatenate([column(name) for name in ranked[first : first + count]], axis=1)
        for first in (0, middle, len(ranked) - count)
    ]
    write_jpeg(path, np.concatenate(strips), quality=75)


def _column(title: str, image: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    head = np.full((16, SIDE, 3), 255, np.uint8)
    cv2.putText(head, title, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    parts = [image, *(draw_outline(image, mask) for mask in masks)]
    small = [cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for part in parts]
    column = np.concatenate([head, *small])
    return cv2.copyMakeBorder(column, 0, 0, 1, 1, cv2.BORDER_CONSTANT, value=(255, 255, 255))
