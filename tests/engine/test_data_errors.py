import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmseg_deepvit.engine.checks.data_folders import check_data_folders
from mmseg_deepvit.errors import UserError


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"an image")
    return tmp_path


@pytest.fixture(autouse=True)
def scope():
    init_default_scope("mmseg")


def config(**parts):
    return Config({f"{part}_dataloader": {"dataset": dataset} for part, dataset in parts.items()})


def test_folders_of_images_are_looked_at(files):
    good = {"data_root": str(files), "data_prefix": {"img_path": ""}}
    missing = {"data_root": str(files), "data_prefix": {"img_path": "nowhere"}}
    (files / "empty").mkdir()
    empty = {"data_root": str(files / "empty"), "data_prefix": {}}
    wrapped = {"type": "RepeatDataset", "dataset": {"datasets": [good, missing]}}
    check_data_folders(config(train=good), ("train", "val"))
    check_data_folders(config(train=missing), ("val",))
    check_data_folders(config(train={**missing, "backend_args": {"backend": "s3"}}), ("train",))
    for dataset, said in (
        (missing, "does not exist"),
        (empty, "holds no files"),
        (wrapped, "exist"),
    ):
        with pytest.raises(UserError, match=rf"{said}.*train_dataloader\.dataset\.data_root"):
            check_data_folders(config(train=dataset), ("train",))


@pytest.mark.parametrize(
    ("dataset", "ending"),
    [
        ({"type": "BaseSegDataset"}, ".jpg"),
        ({"type": "CityscapesDataset"}, "_leftImg8bit.png"),
        ({"img_suffix": "_rgb.png"}, "_rgb.png"),
        ({"type": "BaseSegDataset", "img_suffix": ".png"}, None),
        ({"img_suffix": [".jpg", ".png"]}, None),
        ({"type": "ISIC2018Dataset"}, None),
        ({"type": "BaseCDDataset"}, None),
        ({"type": "NoSuch"}, None),
        ({"type": "no.such.module"}, None),
    ],
)
def test_images_of_another_ending(files, dataset, ending):
    """Only where the ending is certain: other data sets list files in ways of their own."""
    cfg = config(val={"data_root": str(files), **dataset})
    if ending is None:
        check_data_folders(cfg, ("val",))
        return
    with pytest.raises(UserError, match=rf"holds no files that end in {ending}: put .* img_suffix"):
        check_data_folders(cfg, ("val",))
