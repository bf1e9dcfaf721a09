"""Images of any depth and number of bands: 16 bits, floats, grey, transparency, multi-band TIFF.

:mod:`.decoding` reads the common ones, 8 bits in one or three channels. OpenCV reads most of the
others, and tifffile the TIFFs that OpenCV would cut to their first page.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from PIL import Image

from ..errors import reason
from .damage import DataError, check_whole, data_error
from .headers import check_header, turn
from .transforms import read_bytes

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 274  # tag
_REPLACE = "replace the file"


@TRANSFORMS.register_module()
class LoadBands(BaseTransform):
    """Load chosen bands of an image as float32, with each band's range mapped to 0 … 255.

    It takes the place of ``LoadImageFromFile`` where images are not 8-bit RGB. Because values reach
    from 0 to 255, normalisation of pretrained weights fits and pictures can be drawn. Values
    outside the range are kept.

    Args:
        bands: Numbers of the file's bands, from 0, in the model's order (R, G, B of a photograph).
            ``(0, 0, 0)`` repeats grey for weights of three channels; ``(0, 1, 2)`` drops
            transparency.
        value_range: Values that become 0 and 255: a pair for all bands, or one for each. None for
            8 bits, which stay as they are.
        backend_args: mmengine's settings of the file backend.

    Raises:
        ValueError: ``bands`` is empty or negative, or a range is empty; while loading, a DataError
            where a file is unreadable, lacks a band, or holds NaN or infinity.

    Example:
        >>> grey = LoadBands(bands=(0, 0, 0), value_range=(0, 4095))  # of 12 bits, for RGB weights
    """

    def __init__(
        self,
        bands: Sequence[int],
        value_range: Sequence[Any] | None = None,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        self.bands = tuple(bands)
        if not self.bands or min(self.bands) < 0:
            raise ValueError(f"bands must be numbers from 0 on, got {bands!r}")
        ranges = np.array((0, 255) if value_range is None else value_range, dtype=np.float64)
        if ranges.shape not in ((2,), (len(self.bands), 2)) or (np.diff(ranges) <= 0).any():
            raise ValueError(
                "value_range must be (low, high) with low < high, or one such pair for each of "
                f"{len(self.bands)} bands, got {value_range!r}"
            )
        low, high = ranges[..., 0], ranges[..., 1]
        self._highest = float(high.max())
        self._factor = (255 / (high - low)).astype(np.float32)
        self._offset = low.astype(np.float32)
        self.backend_args = backend_args

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read ``img_path`` into ``img``, (H, W, bands), float32; three bands come as B, G, R."""
        path: str = results["img_path"]
        image = self.decode(read_bytes(path, self.backend_args), path)
        shape = image.shape[:2]
        return {**results, "img": image, "img_shape": shape, "ori_shape": shape}

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """Decode the content of a file as :meth:`transform` does.

        Args:
            data: Content of the file.
            path: Path or name of the file, for errors.

        Returns:
            (H, W, bands), float32; three bands as B, G, R.

        Raises:
            DataError: The file is no image that can be used, or lacks a band.
        """
        image = decode_bands(data, path)
        if max(self.bands) >= image.shape[2]:
            said = f"has {image.shape[2]} bands, and band {max(self.bands)} is asked for"
            raise data_error(path, said, "set bands of LoadBands (from 0), or replace the file")
        if image.dtype == np.uint8 and self._highest > 255:
            said = f"holds 8 bits, and value_range of LoadBands reaches {self._highest:g}"
            raise data_error(path, said, "give a file like those of the training")
        image = image[..., self.bands].astype(np.float32)
        image = (image - self._offset) * self._factor
        if len(self.bands) == 3:
            image = np.ascontiguousarray(image[..., ::-1])  # data_preprocessor turns them round
        return image

    def __repr__(self) -> str:
        """Name and arguments."""
        return f"LoadBands(bands={self.bands}, offset={self._offset}, factor={self._factor})"


def decode_bands(data: bytes, path: str) -> np.ndarray:
    """Decode an image of any depth.

    Args:
        data: Content of the file.
        path: Path of the file, for errors.

    Returns:
        (H, W, C) in the file's type, bands in its order (R, G, B), turned upright by EXIF.

    Raises:
        DataError: The file is no image or damaged, has more than 179 million pixels of four bands,
            or holds complex numbers, NaN or infinity.
    """
    check_whole(data, path)
    image = _decode_tiff(data, path) if data.startswith(_TIFF) else _decode_other(data, path)
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.dtype.kind not in "biuf":
        said = f"holds {image.dtype} in {image.ndim} dimensions"
        raise data_error(path, said, "save height, width and bands as integers or floats")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        bad = int((~np.isfinite(image)).sum())
        raise data_error(path, f"holds NaN or infinity in {bad} values", "fill them with a number")
    return image


def _decode_other(data: bytes, path: str) -> np.ndarray:
    header = check_header(data, path)
    image = _by_opencv(data, path)
    return turn(image, header.orientation) if header.turns else image


def _decode_tiff(data: bytes, path: str) -> np.ndarray:
    """Read by OpenCV, which knows most compressions, or by tifffile, which knows all layouts."""
    import tifffile  # only such files need it

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page, pages = file.pages.first, len(file.pages)
            orientation = int(getattr(page.tags.get(_ORIENTATION), "value", 1))
            common = page.samplesperpixel in (1, 3, 4) and page.dtype in ("u1", "u2", "f4")
            plain = common and page.planarconfig == 1 and page.photometric in (0, 1, 2)
            by_opencv = pages == 1 and plain and orientation == 1
            _check_size(page.size if by_opencv else file.series[0].size, path)
            if by_opencv:
                return _by_opencv(data, path)
            image, axes = file.series[0].asarray(), file.series[0].axes
    except DataError:
        raise
    except Exception as error:  # of the library or of a codec
        said = reason(error)
        remedy = "pip install imagecodecs" if "imagecodecs" in said else _REPLACE
        raise data_error(path, f"cannot be read as TIFF ({said})", remedy) from error
    if image.ndim == 3 and _bands_first(axes, image.shape):
        image = np.moveaxis(image, 0, -1)
    return turn(image, orientation)


def _check_size(values: int, path: str) -> None:
    """Refuse what a header promises before memory is taken for it, as for other formats."""
    most = 4 * 2 * (Image.MAX_IMAGE_PIXELS or values)  # of four bands
    if values > most:
        raise data_error(path, f"has more than {most} values", "cut it into tiles")


def _bands_first(axes: str, shape: Sequence[int]) -> bool:
    """Whether the first of three axes has the bands: the file tells it, or the sizes do."""
    for name in "SC":
        if name in axes:
            return axes.index(name) == 0
    return shape[0] <= shape[2]


def _by_opencv(data: bytes, path: str) -> np.ndarray:
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image: np.ndarray | None = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise data_error(path, f"cannot be decoded ({error.err})", _REPLACE) from error
    if image is None:
        raise data_error(path, "is no image, or a damaged one", _REPLACE)
    if image.ndim == 3 and image.shape[2] in (3, 4):
        image = image[..., (2, 1, 0, 3)[: image.shape[2]]]
    return image
