import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmseg_deepvit.engine.data_errors import check_data_folders, unreadable_files
from mmseg_deepvit.errors import UserError


class Pairs:
    def __init__(self, *pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def get_data_info(self, i):
        return {"img_path": str(self.pairs[i][0]), "seg_map_path": str(self.pairs[i][1])}


@pytest.fixture
def files(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("hello")
    return tmp_path


def test_unreadable_files_are_listed_once(files):
    good, cut, text = (files / f"{name}.png" for name in ("good", "cut", "text"))
    datasets = [Pairs((good, cut), (good, good)), Pairs((text, cut), (good, files / "missing.png"))]
    assert unreadable_files(datasets) == [str(cut), str(text)]
    assert unreadable_files(datasets, most=1) == [str(cut)]


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
