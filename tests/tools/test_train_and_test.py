import json
import runpy
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from PIL import Image

from mmseg_deepvit.checkpoints import read_checkpoint
from mmseg_deepvit.command_line import load_config
from mmseg_deepvit.engine import cpu_has_bf16

from ..conftest import ROOT
from .conftest import ADE_ROOTS, CONFIG, MIM, SMALL, assert_one_line, run_here, run_tool


def test_training_on_real_images(trained):
    log = trained.result.stdout + trained.result.stderr
    assert "Iter(train) [2/2]" in log
    assert "decode.loss_ce" in log
    assert "aux.loss_ce" in log
    assert "mIoU" in log
    assert trained.checkpoint.name == "iter_2.pth"
    best, last, advice = trained.result.stdout.splitlines()[-3:]
    assert best.startswith("best checkpoint: ")
    assert last.endswith(f"last checkpoint: {trained.checkpoint}")
    assert advice == f"next: python tools/test.py {CONFIG} {best.removeprefix('best checkpoint: ')}"


def test_resume_goes_on(trained, tmp_path):
    shutil.copytree(trained.work_dir, tmp_path / "run")
    last = tmp_path / "run" / "last_checkpoint"
    last.write_text(str(tmp_path / "run" / "iter_2.pth"))
    options = [*SMALL, "train_cfg.max_iters=3", "train_cfg.val_interval=5"]
    result = run_tool(
        "tools/train.py",
        CONFIG,
        "--work-dir",
        tmp_path / "run",
        "--resume",
        "--cfg-options",
        *options,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    log = result.stdout + result.stderr
    assert "iter: 2" in log
    assert "Iter(train) [3/3]" in log
    assert "Iter(train) [2/3]" not in log
    assert (tmp_path / "run" / "iter_3.pth").exists()


@pytest.fixture(scope="module")
def plain_scores(trained, tmp_path_factory):
    """Scores of tools/test.py on the checkpoint, with label maps, pictures and a matrix."""
    folder = tmp_path_factory.mktemp("test")
    result = run_tool(
        *("tools/test.py", CONFIG, trained.checkpoint, "--work-dir", folder / "work"),
        *("--out", folder / "out", "--show-dir", folder / "show", "--confusion"),
        *("--cfg-options", *SMALL),
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(list((folder / "out").glob("*.png"))) == 6
    assert len(list((folder / "show").rglob("*.png"))) == 6
    (path,) = (folder / "work").glob("*/*.json")
    scores = json.loads(path.read_text())
    *_, mean = (path.parent / "classes.csv").read_text().splitlines()
    assert float(mean.split(",")[1]) == pytest.approx(scores["mIoU"], abs=0.01)
    for name in ("confusion_matrix.csv", "confusion_matrix.png"):
        assert (path.parent / name).stat().st_size > 1000
    return scores


@pytest.mark.parametrize(
    ("config", "metrics", "written"),
    [
        ("upernet_deepvit_isic2018", ["IoUMetric", "PerImageMetric"], [[0, 1], [1, 1]]),
        ("upernet_deepvit_cityscapes", ["CityscapesIoUMetric"], [[7, 8], [8, 8]]),
        (None, ["PerImageMetric", "IoUMetric"], [[0, 1], [1, 1]]),
    ],
)
def test_label_maps_of_every_metric(config, metrics, written, tmp_path):
    """``--out``: a metric that writes nothing itself gets one beside it that does."""
    cfg = load_config(ROOT / f"configs/{config or 'upernet_deepvit_isic2018'}.py")
    if config is None:
        cfg.test_evaluator = dict(type="PerImageMetric", classes=["lesion"])
    runpy.run_path(str(ROOT / "tools/test.py"))["write_label_maps"](cfg, str(tmp_path / "out"))
    assert [e["type"] for e in cfg.test_evaluator] == metrics
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = DATASETS.get(cfg.test_dataloader.dataset.type).METAINFO
    data = dict(gt_sem_seg=PixelData(data=torch.tensor([[[0, 1], [1, 1]]])))
    data["pred_sem_seg"] = data["gt_sem_seg"]
    evaluator.process([SegDataSample(metainfo={"img_path": "x/photo.jpg"}, **data)])
    found = evaluator.evaluate(1)
    assert any(name.endswith("mIoU") for name in found) == (config is not None)
    assert np.array(Image.open(tmp_path / "out" / "photo.png")).tolist() == written


def test_testing_a_checkpoint_gives_the_scores_of_training(trained, plain_scores):
    (log,) = trained.work_dir.glob("*/vis_data/scalars.json")
    last = [json.loads(line) for line in log.read_text().splitlines() if "mIoU" in line][-1]
    for name in ("mIoU", "aAcc", "mAcc"):
        assert plain_scores[name] == pytest.approx(last[name], abs=0.02)


def test_tta(trained, tmp_path):
    scales = [f"tta_pipeline.1.transforms.0.{i}.scale_factor={0.1 + i / 100}" for i in range(6)]
    options = [*SMALL, *scales, "test_dataloader.dataset.indices=2"]
    result = run_tool(
        *("tools/test.py", CONFIG, trained.checkpoint, "--work-dir", tmp_path, "--tta"),
        *("--cfg-options", *options),
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "mIoU" in result.stdout + result.stderr


def test_mim_test_and_train(trained, tmp_path):
    result = run_tool(
        *(MIM, "test", "mmseg", CONFIG, "--checkpoint", trained.checkpoint, "--gpus", "0"),
        *("--work-dir", tmp_path / "test", "--cfg-options", *SMALL),
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    assert list((tmp_path / "test").glob("*/*.json"))
    result = run_tool(
        *(MIM, "train", "mmseg", CONFIG, "--gpus", "0", "--work-dir", tmp_path / "train"),
        *("--cfg-options", *SMALL, "train_cfg.max_iters=1"),
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    assert (tmp_path / "train" / "iter_1.pth").exists()


def test_what_people_add_to_training(ade_root, tmp_path):
    """Moving average, mixed precision, clipping, accumulation, layer-wise decay, losses, stop."""
    amp = ("--amp", "bf16") if torch.cuda.is_available() or cpu_has_bf16() else ()
    options = [
        *SMALL,
        "optim_wrapper.clip_grad.max_norm=1.0",
        "optim_wrapper.accumulative_counts=2",
        "optim_wrapper.constructor=BlockDecayOptimWrapperConstructor",
        "optim_wrapper.paramwise_cfg.layer_decay_rate=0.8",
    ]
    command = ("tools/train.py", CONFIG, "--work-dir", tmp_path, "--ema", "0.5", "--val-loss")
    command += ("--early-stop", "val/loss:9", "--log-to", "tensorboard")
    result = run_tool(*command, *amp, "--cfg-options", *options)
    assert result.returncode == 0, result.stderr[-3000:]
    log = result.stdout + result.stderr
    assert "grad_norm" in log
    assert "eta:" in log
    assert "groups of parameters:" in log
    assert "lr 1.97e-05" in log  # 6e-5 · 0.8⁵, the stem's
    assert list(tmp_path.glob("*/vis_data/events.out.tfevents.*"))
    assert "val/loss_ce: " in log
    assert (tmp_path / "best_val_loss_iter_2.pth").exists()
    assert (tmp_path / "best_mIoU_iter_2.pth").exists()
    saved = read_checkpoint(tmp_path / "iter_2.pth")
    assert ("loss_scaler" in saved["optimizer"]) is bool(amp)
    averaged, plain = saved["state_dict"], saved["ema_state_dict"]
    name = "backbone.blocks.0.mlp.fc1.weight"
    assert not torch.equal(averaged[name], plain[f"module.{name}"])

    command = ("tools/test.py", CONFIG, tmp_path / "iter_2.pth", "--work-dir", tmp_path / "test")
    result = run_tool(*command, "--cfg-options", *SMALL)
    assert result.returncode == 0, result.stderr[-3000:]
    (records,) = tmp_path.glob("2*/vis_data/scalars.json")
    trained = [json.loads(line) for line in records.read_text().splitlines() if "mIoU" in line]
    (scores,) = tmp_path.glob("test/*/*.json")
    assert json.loads(scores.read_text())["mIoU"] == pytest.approx(trained[-1]["mIoU"], abs=0.02)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--ema", "2"], ["--ema takes a momentum above 0 and below 1, got 2"]),
        (["--log-to", "wandb"], ["--log-to wandb needs the package wandb: pip install wandb"]),
        (["--log-to", "mlflow"], ["--log-to mlflow needs the package mlflow: pip install mlflow"]),
    ],
)
def test_additions_that_cannot_be(tmp_path, options, parts):
    if "--log-to" in options and find_spec(options[1]):
        pytest.skip(f"{options[1]} is installed")
    result = run_here("tools/train.py", CONFIG, "--work-dir", tmp_path, *options)
    assert_one_line(result, *parts)


def test_wrong_paths(trained, tmp_path):
    assert_one_line(
        run_here("tools/train.py", "configs/nowhere.py"), "configs/nowhere.py does not exist"
    )
    assert_one_line(
        run_here("tools/test.py", CONFIG, tmp_path / "nowhere.pth"), "nowhere.pth does not exist"
    )
    options = [*SMALL, "train_dataloader.dataset.data_root=data/nowhere"]
    result = run_here("tools/train.py", CONFIG, "--work-dir", tmp_path, "--cfg-options", *options)
    assert_one_line(result, "data/nowhere/images/training does not exist", "data_root")


def test_a_wrong_file_to_start_from(trained, tmp_path):
    options = [
        *SMALL,
        "model.backbone.init_cfg.type=Pretrained",
        f"model.backbone.init_cfg.checkpoint={trained.checkpoint}",
        "model.backbone.embed_dims=384",
        "model.neck.embed_dim=384",
        "model.decode_head.in_channels=[384,384,384,384]",
        "model.auxiliary_head.in_channels=384",
    ]
    result = run_here("tools/train.py", CONFIG, "--work-dir", tmp_path, "--cfg-options", *options)
    assert_one_line(result, str(trained.checkpoint), "does not fit the model", "embed_dims")


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("model.backbone.arch=deepvit-xl", ("deepvit-16b", "got 'deepvit-xl'")),
        ("model.backbone.embed_dim=3", ("embed_dim",)),
        ("train_dataloader.dataset.type=Nothing", ("Nothing is not in the",)),
    ],
)
def test_a_config_that_cannot_be_built(ade_root, tmp_path, option, parts):
    command = (
        "tools/train.py",
        CONFIG,
        "--work-dir",
        tmp_path,
        "--cfg-options",
        *ADE_ROOTS,
        option,
    )
    assert_one_line(run_here(*command), CONFIG, *parts)


def test_a_data_set_without_images(tmp_path):
    (tmp_path / "images/training").mkdir(parents=True)
    (tmp_path / "images/validation").mkdir()
    (tmp_path / "images/validation/a.jpg").touch()
    roots = [f"{part}_dataloader.dataset.data_root={tmp_path}" for part in ("train", "val")]
    options = [*SMALL, *roots]
    result = run_here("tools/train.py", CONFIG, "--work-dir", tmp_path, "--cfg-options", *options)
    assert_one_line(result, f"{tmp_path}/images/training holds no files", "train_dataloader")
    (tmp_path / "images/training/a.gif").touch()
    result = run_here("tools/train.py", CONFIG, "--work-dir", tmp_path, "--cfg-options", *options)
    assert_one_line(result, f"{tmp_path}/images/training holds no files that end in .jpg")


def test_amp_without_a_gpu(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = run_here("tools/train.py", CONFIG, "--work-dir", tmp_path, "--amp")
    assert_one_line(result, "--amp fp16 needs a GPU", "give --amp bf16")


def test_a_checkpoint_of_another_model(trained, tmp_path):
    command = ("tools/test.py", CONFIG, trained.checkpoint, "--work-dir", tmp_path, "--cfg-options")
    result = run_here(*command, *SMALL, "model.backbone.num_heads=11")
    assert_one_line(result, "belongs to another model", str(trained.checkpoint))
    options = [*SMALL, "model.decode_head.num_classes=10", "model.auxiliary_head.num_classes=10"]
    result = run_here(*command, *options)
    assert_one_line(result, "has 150 classes and the config 10")


def test_a_number_of_classes_that_is_not_the_datas(trained, tmp_path):
    options = [*SMALL, "model.decode_head.num_classes=10"]
    result = run_here("tools/train.py", CONFIG, "--work-dir", tmp_path, "--cfg-options", *options)
    assert_one_line(result, "model.decode_head.num_classes is 10", "ADE20KDataset has 150 classes")


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_files_in_a_data_set(ade_root, tmp_path, workers):
    """Images and masks are named, also when a worker process met them."""
    root = tmp_path / "ade"
    for folder in ("images/training", "annotations/training"):
        (root / folder).mkdir(parents=True)
    source = min((ade_root / "images/training").glob("*.jpg"))
    mask = ade_root / "annotations/training" / f"{source.stem}.png"
    options = [
        *SMALL,
        f"train_dataloader.dataset.data_root={root}",
        f"train_dataloader.num_workers={workers}",
    ]

    def train():
        command = ("tools/train.py", CONFIG, "--work-dir", tmp_path, "--cfg-options", *options)
        return (run_tool if workers else run_here)(*command)

    (root / "images/training/a.jpg").write_bytes(b"no image")
    shutil.copy(mask, root / "annotations/training/a.png")
    assert_one_line(train(), f"{root}/images/training/a.jpg is no image")
    shutil.copy(source, root / "images/training/a.jpg")
    (root / "annotations/training/a.png").write_bytes(b"no mask")
    assert_one_line(train(), f"{root}/annotations/training/a.png is no image")
    (root / "annotations/training/a.png").unlink()
    assert_one_line(train(), f"{root}/annotations/training/a.png does not exist")
