import numpy as np
import pytest
import tifffile
import torch
from mmseg.apis import inference_model

from mmseg_deepvit.analysis.collapse import measure_collapse
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.tokens.attention_rows import attention_layers, catch_attention

from .conftest import DEEPVIT, load, write_model


def test_classes_and_tokens_of_an_image(deepvit, image):
    explored, model = deepvit
    look = explored.look(image, "photo.png")
    assert (look.name, look.full_size) == ("photo.png", (40, 60))
    assert np.array_equal(look.labels, inference_model(model, image).pred_sem_seg.data[0])
    # The BatchNorm of the maps belongs to crops of 32².
    assert look.entered.images.shape == (1, 3, 32, 32)
    assert [layer.name for layer in look.layers] == ["blocks.0", "blocks.1", "blocks.2"]
    assert look.layers[0].grid.image_size == (40, 60)


def test_bands_of_other_depths(bands, image, tmp_path):
    """From a file and from its content, as the test predicts them; three are shown."""
    explored, model = bands
    file = tmp_path / "scan.tif"
    deep = image[..., [2, 1, 0, 1, 2]].astype(np.uint16) * 16
    tifffile.imwrite(file, deep, photometric="minisblack", planarconfig="contig")
    pixels = explored.read(file)
    assert np.array_equal(explored.decode(file.read_bytes(), "scan.tif"), pixels)
    look = explored.look(pixels, "scan.tif")
    expected = inference_model(model, str(file))
    assert np.array_equal(look.labels, expected.pred_sem_seg.data[0])
    assert look.entered.images.shape == (1, 5, 32, 32)
    assert np.abs(look.picture.astype(int) - image).max() <= 1
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(UserError, match=r"scan\.tif cannot be read as TIFF"):
        explored.read(file)
    tifffile.imwrite(file, deep[..., 0])
    with pytest.raises(UserError, match=r"mine\.tif has 1 bands, and band 4 is asked for"):
        explored.decode(file.read_bytes(), "mine.tif")


def test_attention_is_that_of_the_patch_under_the_point(deepvit, image):
    explored, model = deepvit
    look = explored.look(image, "photo.png")
    found = look.attend(59, 0)
    backbone = model.backbone
    names = attention_layers(backbone)
    with torch.no_grad(), catch_attention(backbone, names, lambda x: x.rows(slice(None))) as all_:
        backbone(look.entered.images)
    row = look.num_prefix + look.layers[0].grid.shape[1] - 1  # the last patch of the first row
    assert len(found) == len(all_) == 3
    for rows, (p, a) in zip(found, all_.values(), strict=True):
        torch.testing.assert_close(rows.probabilities[0], p[0, :, row])
        if rows.mixed is not None:
            torch.testing.assert_close(rows.mixed[0], a[0, :, row])
    assert [rows.mixed is not None for rows in found] == [False, False, True]


def test_collapse_is_measured_on_the_same_input(deepvit, image):
    explored, model = deepvit
    look = explored.look(image, "photo.png")
    expected = measure_collapse(model.backbone, look.entered.images, (1,), with_cka=False)
    found = explored.measure(look)
    assert found.layers == expected.layers
    for name, values in expected.mean.items():
        np.testing.assert_array_equal(found.mean[name], values)


def test_windows_have_tokens_and_no_attention_of_a_point(swin, image):
    explored, _ = swin
    look = explored.look(image, "photo.png")
    assert len(look.layers) == 4
    assert look.attend(5, 5) is None


def test_a_model_that_gives_nan_is_an_error(tmp_path, image):
    explored, model = load(*write_model(tmp_path, DEEPVIT))
    model.decode_head.conv_seg.weight.data.fill_(torch.nan)
    with pytest.raises(UserError, match="NaN or infinity: look at"):
        explored.look(image, "photo.png")
