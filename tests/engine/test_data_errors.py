import pytest
from mmengine.config import Config

from mmseg_deepvit.engine.data_errors import check_data_folders
from mmseg_deepvit.errors import UserError


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"an image")
    return tmp_path


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
