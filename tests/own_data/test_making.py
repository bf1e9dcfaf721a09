from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS, MODELS

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.own_data import new_config
from mmseg_deepvit.own_data.config_text import bases_folder

from ..conftest import ROOT
from ..datasets.folders import mask, picture, write_any, write_pairs


def losses_of(path):
    """The config, a normalised test image, and the loss of the first training batch."""
    cfg = Config.fromfile(path)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    tested = DATASETS.build(cfg.val_dataloader.dataset)
    cfg.model.backbone.num_layers, cfg.model.backbone.out_indices = 2, (0, 0, 1, 1)
    if cfg.model.decode_head.type == "FCNHead":
        cfg.model.backbone.out_indices = (-1,)
    model = MODELS.build(cfg.model).train()
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), training=True)
    losses = model.loss(batch["inputs"], batch["data_samples"])
    image = model.data_preprocessor(pseudo_collate([tested[0]]))["inputs"]
    return cfg, image, sum(v for k, v in losses.items() if "loss" in k)


@pytest.mark.parametrize(
    ("bands", "dtype", "channels"),
    [(3, np.uint8, 3), (None, np.uint16, 1), (5, np.float32, 5)],
)
def test_images_of_any_kind(tmp_path, bands, dtype, channels):
    for i in range(5):
        end = "tif" if dtype != np.uint8 else "png"
        pixels = picture(i, (40, 48), bands, 250) * np.array(7, dtype) if end == "tif" else None
        write_any(
            tmp_path / f"images/{i}.{end}",
            picture(i, (40, 48), bands) if pixels is None else pixels.astype(dtype),
        )
        write_any(tmp_path / f"masks/{i}.png", mask(255, (40, 48)))
    made = new_config(tmp_path, out=tmp_path / "my.py")
    cfg, image, loss = losses_of(made.path)
    assert image.shape == (1, channels, 40, 48)
    assert torch.isfinite(loss)
    assert image.mean().abs() < 1  # normalised
    assert 0.5 < image.std() < 2
    assert len(cfg.model.data_preprocessor.mean) == channels
    assert cfg.data.labels == dict(background=0, foreground=255)


@pytest.mark.parametrize(
    ("backbone", "head"), [("cait", "linear"), ("diversepatch", "upernet"), ("vit", "linear")]
)
def test_backbones_and_heads(tmp_path, backbone, head):
    write_pairs(tmp_path, count=5)
    made = new_config(tmp_path, backbone, head, out=tmp_path / "my.py")
    cfg, _, loss = losses_of(made.path)
    assert torch.isfinite(loss)
    assert ("diversity" in cfg.model) is (backbone == "diversepatch")
    lines = Path(made.path).read_text().splitlines()
    assert max(map(len, lines)) <= 100 + len(f"{bases_folder()}")  # bases stand in one string
    assert len(lines) <= (82 if backbone == "diversepatch" else 72)


def test_names_of_any_letters(tmp_path):
    """Folders, files and classes."""
    root = write_pairs(
        tmp_path / 'a "b" é\\', "train/images", "train/masks", end=(".PNG", "_m.png")
    )
    write_pairs(root, "val/images", "val/masks", end=(".PNG", "_m.png"))
    names = ["not class", 'Straße "2"']
    made = new_config(root, out=tmp_path / "my.py", classes=names)
    cfg = Config.fromfile(made.path)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    assert list(dataset.metainfo["classes"]) == names
    assert len(dataset) == 4


def test_long_settings_take_several_lines(tmp_path):
    """Lists and tables that fill many lines are read as they were written."""
    many = [f"a class, of number {i}, and with a long name" for i in range(2)]
    deep = "a folder of images, which has a long name/and one below it/images of the whole"
    write_pairs(tmp_path / "long", deep, deep.replace("images", "masks"), count=5)
    made = new_config(tmp_path / "long", out=tmp_path / "my.py", classes=many)
    text = Path(made.path).read_text()
    assert "classes = " in text
    cfg = Config.fromfile(made.path)
    assert list(DATASETS.build(cfg.val_dataloader.dataset).metainfo["classes"]) == many
    assert cfg.train_dataloader.dataset.data_prefix.img_path == deep


def test_a_config_inside_the_checkout_has_relative_bases(tmp_path, monkeypatch):
    from mmseg_deepvit.own_data import config_text

    write_pairs(tmp_path / "data", count=5)
    absolute = new_config(tmp_path / "data", out=tmp_path / "out/my.py").path
    assert f'"{bases_folder().as_posix()}/tasks/upernet_folders.py"' in Path(absolute).read_text()
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.setattr(config_text, "bases_folder", lambda: tmp_path / "configs/_base_")
    relative = new_config(tmp_path / "data", out=tmp_path / "mine/my.py").path
    assert '"../configs/_base_/tasks/upernet_folders.py"' in Path(relative).read_text()
    Config.fromfile(relative)


def test_every_size_is_told(tmp_path):
    write_pairs(tmp_path, count=30, value=3)
    found = new_config(tmp_path, out=tmp_path / "my.py", sample=4).summary
    assert "24 train, 6 val images, 32×48" in found
    assert "a sample of 8 of 30 pairs was read (--sample 0 reads all)" in found
    assert "| 1     | foreground | 3        | 25.00%          |" in found
    for tool in ("check_dataset", "train", "test", "predict"):
        assert f"python tools/{tool}.py" in found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (dict(backbone="resnet"), "--backbone must be one of deepvit"),
        (dict(out="my.txt"), "must end in .py"),
        (dict(out="my.v2.py"), "has a dot in its name"),
        (dict(bands=[3]), "--bands 3: images have bands 0 to 2"),
        (dict(val_fraction=2), "--val-fraction must be above 0"),
        (dict(weights="nothing.pth"), "nothing.pth does not exist"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, arguments, said):
    write_pairs(tmp_path / "data")
    out = tmp_path / arguments.pop("out", "my.py")
    with pytest.raises(UserError, match=said):
        new_config(tmp_path / "data", out=out, **arguments)
    assert not out.exists()


def test_an_existing_file_stays(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "my.py").write_text("mine")
    with pytest.raises(UserError, match="exists; give another name, or --overwrite"):
        new_config(tmp_path, out=tmp_path / "my.py")
    assert (tmp_path / "my.py").read_text() == "mine"
    new_config(tmp_path, out=tmp_path / "my.py", overwrite=True)
    assert "_base_" in (tmp_path / "my.py").read_text()


def test_folders_that_cannot_be_trained_on(tmp_path):
    write_pairs(tmp_path / "one", count=1)
    with pytest.raises(UserError, match="holds 1 image; at least 2 are needed"):
        new_config(tmp_path / "one", out=tmp_path / "my.py")
    write_pairs(tmp_path / "two")
    write_any(tmp_path / "two/images/1.png", picture(dtype=np.uint16))
    with pytest.raises(UserError, match="images differ in type"):
        new_config(tmp_path / "two", out=tmp_path / "my.py")
    write_any(tmp_path / "two/images/1.png", picture(size=(9, 9)))
    with pytest.raises(UserError, match=r"masks/1\.png is 32×48 .* 9×9"):
        new_config(tmp_path / "two", out=tmp_path / "my.py")
