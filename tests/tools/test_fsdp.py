"""The configs that share models out, shrunk, from training to prediction."""

import pytest

from mmseg_deepvit.checkpoints import read_checkpoint

from .conftest import SMALL, run_tool
from .distributed import run_script, saved_iteration

OPTIONS = [*SMALL, "model.backbone.init_cfg=None", "train_dataloader.batch_size=2"]
CONFIGS = {
    "deepvit-l": ("configs/upernet_deepvit-l_ade20k-fsdp.py", []),
    "cait-m48": ("configs/upernet_cait-m48_ade20k-fsdp.py", ["model.neck.embed_dim=768"]),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_one_process_and_none(name, ade_root, tmp_path):
    """What two processes have saved, one goes on from, is tested, gathered and predicted with."""
    config, more = CONFIGS[name]
    options = [*OPTIONS, *more]
    work_dir, log = tmp_path / "run", tmp_path / "log"
    command = ("--work-dir", work_dir, "--cfg-options", *options)
    status, text = run_script("tools/dist_train.sh", config, 2, *command, log=log)
    assert status == 0, text[-3000:]
    assert "Split 4 units among 2 processes" in text
    assert sorted(p.name for p in (work_dir / "iter_2.pth").iterdir())[1:] == [
        "__0_0.distcp",
        "__1_0.distcp",
        "rest.pth",
    ]
    assert (work_dir / "best_mIoU_iter_2.pth").is_file()
    further = ("train_cfg.max_iters=3", "train_cfg.val_interval=9")
    status, text = run_script(
        "tools/dist_train.sh", config, 1, "--resume", *command, *further, log=log
    )
    assert status == 0, text[-3000:]
    assert "resumed epoch: 0, iter: 2" in text
    assert saved_iteration(work_dir) == 3

    result = run_tool("tools/test.py", config, work_dir / "iter_3.pth", *command)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "mIoU" in result.stdout + result.stderr
    result = run_tool("tools/convert_checkpoint.py", work_dir / "iter_3.pth", tmp_path / "one.pth")
    assert result.returncode == 0, result.stderr[-3000:]
    gathered = read_checkpoint(tmp_path / "one.pth")
    assert list(gathered["state_dict"]) == list(
        read_checkpoint(work_dir / "iter_3.pth")["state_dict"]
    )
    images = next((ade_root / "images/validation").glob("*.jpg"))
    result = run_tool(
        *("tools/predict.py", images, "--config", config, "--checkpoint", tmp_path / "one.pth"),
        *("--out-dir", tmp_path / "out", "--cfg-options", *options),
    )
    assert result.returncode == 0, result.stderr[-3000:]
