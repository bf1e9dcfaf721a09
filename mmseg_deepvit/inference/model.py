"""A trained model from one file, for Python: load it, predict, look at the results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..checkpoints import read_checkpoint
from ..errors import UserError, reason
from ..safe_loading import install
from .exported import OnnxSegmentor
from .files import find_images
from .loading import load_segmentor
from .saved_config import saved_config
from .segmentation import Predictions, Segmentation, Segmentor
from .torch_segmentor import TorchSegmentor


class SegmentationModel:
    """A trained model that segments images; :func:`load_model` makes it.

    Args:
        segmentor: What runs.

    Attributes:
        segmentor: What runs; a ``TorchSegmentor`` has mmseg's ``model``.
        classes: Name of each class.
        palette: RGB of each class, 0 to 255.
    """

    def __init__(self, segmentor: Segmentor) -> None:
        self.segmentor = segmentor
        self.classes: list[str] = list(segmentor.dataset_meta["classes"])
        self.palette: list[list[int]] = segmentor.dataset_meta["palette"]

    @overload
    def predict(
        self,
        inputs: np.ndarray,
        *,
        tta: bool = ...,
        probabilities: bool = ...,
        progress: bool = ...,
    ) -> Segmentation: ...

    @overload
    def predict(
        self,
        inputs: str | os.PathLike[str],
        *,
        tta: bool = ...,
        probabilities: bool = ...,
        progress: bool = ...,
    ) -> Any: ...

    @overload
    def predict(
        self,
        inputs: Sequence[str | os.PathLike[str] | np.ndarray],
        *,
        tta: bool = ...,
        probabilities: bool = ...,
        progress: bool = ...,
    ) -> Predictions: ...

    def predict(
        self,
        inputs: Any,
        *,
        tta: bool = False,
        probabilities: bool = False,
        progress: bool = True,
    ) -> Any:
        """Segment one image or many.

        Args:
            inputs: Path of an image; an image, (H, W, 3), uint8, BGR as OpenCV reads it, or
                bands as the config's ``LoadBands`` gives them; a folder (searched with its
                subfolders), or a pattern (``'scans/**/*.png'``); or a list of these.
            tta: Whether to average the views of the config's ``tta_pipeline``, flipped and scaled.
            probabilities: Whether to compute them at once; else a result does when it is asked.
            progress: Whether to show a bar on stderr for many images.

        Returns:
            A :class:`~mmseg_deepvit.inference.segmentation.Segmentation` for a file or an array;
            for all else :class:`~mmseg_deepvit.inference.segmentation.Predictions`, an iterator.

        Raises:
            UserError: An input names no image, an array has another kind or shape, or there are
                none; of a single image also that it cannot be read or segmented.
        """

        def segment(image: Path | np.ndarray) -> Segmentation:
            return Segmentation(self.segmentor, image, tta, probabilities)

        if isinstance(inputs, np.ndarray):
            return segment(inputs)
        if isinstance(inputs, str | os.PathLike):
            path = Path(inputs).expanduser()
            return (
                segment(path)
                if path.is_file()
                else Predictions(find_images([os.fspath(inputs)]), segment, progress)
            )
        return Predictions(self._list(inputs), segment, progress)

    def _list(self, inputs: Any) -> list[Path | np.ndarray]:
        """Paths and checked arrays of a list of inputs."""
        images: list[Path | np.ndarray] = []
        for one in inputs if isinstance(inputs, Iterable) else [inputs]:
            if isinstance(one, str | os.PathLike):
                images += find_images([os.fspath(one)])
            else:
                self.segmentor.check(one)
                images.append(one)
        if not images:
            raise UserError("the list of images is empty; give paths or arrays")
        return images


def load_model(
    checkpoint: str | os.PathLike[str],
    config: str | os.PathLike[str] | Config | None = None,
    device: str | torch.device | None = None,
    amp: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> SegmentationModel:
    """Load a trained model from the file that training, conversion or export wrote.

    No code in the file is run. From now on this process loads images and checkpoints safely
    (:func:`mmseg_deepvit.safe_loading.install`).

    Args:
        checkpoint: ``.pth`` or ``.safetensors`` file, folder of several processes, or address; or
            an ``.onnx`` file of ``tools/export.py``.
        config: Config of its training, a file (which is run) or a ``Config``; None for the one in
            the checkpoint.
        device: Device of the model; None for the first GPU, else the CPU. ONNX files take
            ``'cpu'``, the default, and ``'cuda'``.
        amp: ``'fp16'`` or ``'bf16'`` for automatic mixed precision.
        cfg_options: Dotted keys and values that replace the config's.

    Raises:
        UserError: The file cannot be read, holds no config, or belongs to another model.

    Example::

        model = load_model('work_dirs/run/iter_600.pth')
        result = model.predict('photo.jpg')
        result.labels, result.probabilities, result.overlay()
    """
    checkpoint = os.fspath(checkpoint)
    if checkpoint.endswith(".onnx"):
        if config is not None or cfg_options or amp:
            raise UserError(
                f"{checkpoint} holds its settings, and runs in its own precision: leave out "
                "config, cfg_options and amp"
            )
        return SegmentationModel(OnnxSegmentor(checkpoint, str(device or "cpu")))
    install()
    init_default_scope("mmseg")
    content = read_checkpoint(checkpoint)
    cfg = saved_config(content) if config is None else _read_config(config)
    cfg.merge_from_dict(dict(cfg_options or {}))
    device = device or ("cuda:0" if torch.cuda.is_available() else "cpu")
    return SegmentationModel(TorchSegmentor(load_segmentor(cfg, content, device), amp))


def _read_config(config: str | os.PathLike[str] | Config) -> Config:
    if isinstance(config, Config):
        return config
    path = os.fspath(config)
    if not os.path.isfile(path):
        raise UserError(f"config {path} does not exist; give a config file, or leave it out")
    try:
        return Config.fromfile(path)
    except (Exception, SystemExit) as error:  # a config is code: it can raise anything
        said = f"{type(error).__name__}: {reason(error)}"
        raise UserError(f"config {path} cannot be read ({said}); correct it") from error
