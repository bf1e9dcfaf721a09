"""Samples as mmengine's Evaluator gives them, and label maps of all kinds."""

import numpy as np
import torch

CLASSES = ("background", "lesion")


def sample(prediction, truth, path="a.jpg"):
    """Input of ``process``; label maps are nested lists or arrays, (H, W)."""
    return {
        "pred_sem_seg": {"data": torch.as_tensor(np.asarray(prediction, dtype=np.int64))[None]},
        "gt_sem_seg": {"data": torch.as_tensor(np.asarray(truth, dtype=np.uint8))[None]},
        "img_path": path,
    }


def random_pairs(num_classes, size=(9, 11), count=12, seed=0):
    """Predictions and truths: noise, blobs, empty, full, one class missing, with ignored pixels."""
    generator = np.random.default_rng(seed)
    pairs = []
    for i in range(count):
        truth = generator.integers(num_classes, size=size)
        prediction = np.where(generator.random(size) < 0.3, truth[::-1], truth)
        if i % 3 == 1:
            truth, prediction = np.zeros(size, int), np.zeros(size, int)
            truth[2:7, 3:8] = num_classes - 1
            y, x = generator.integers(0, 5, 2)
            prediction[y : y + 4, x : x + 5] = generator.integers(num_classes)
        if i == 2:
            truth[:] = 0
        if i == 3:
            prediction[:] = num_classes - 1
        if i == 5:
            truth[:], prediction[:] = 0, 0
        if i == 6:
            truth[:] = 255
        elif i % 2:
            truth = np.where(generator.random(size) < 0.2, 255, truth)
        pairs.append((prediction, truth))
    return pairs
