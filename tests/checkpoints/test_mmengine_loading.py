"""What mmengine writes it reads again, through our reader, and goes on from."""

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as mmengine_checkpoint

from mmseg_deepvit import safe_loading
from mmseg_deepvit.checkpoints import mmengine_loading, save_safetensors
from mmseg_deepvit.errors import CheckpointError

safe_loading.install()


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)

    def forward(self, x, mode="loss"):
        return dict(loss=self.linear(x).square().mean())


def collate(rows):
    return dict(x=torch.stack(rows))


def runner(work_dir, max_iters=4, **arguments):
    return Runner(
        Line(),
        str(work_dir),
        train_dataloader=torch.utils.data.DataLoader(torch.ones(8, 3), collate_fn=collate),
        train_cfg=dict(by_epoch=False, max_iters=max_iters),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.1)),
        param_scheduler=dict(type="PolyLR", by_epoch=False),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=False)),
        experiment_name=f"{work_dir.name}-{max_iters}",
        log_level="ERROR",
        default_scope="mmseg",
        cfg=Config(dict(custom_imports=dict(imports=["mmseg_deepvit"]), seed=3)),
        **arguments,
    )


def tampered(source, target, **meta):
    content = torch.load(source, weights_only=False)
    content["meta"].update(meta)
    torch.save(content, target)
    return str(target)


def test_mmengine_resumes_as_from_its_own_reading(tmp_path):
    first = runner(tmp_path / "a")
    first.train()
    again = runner(tmp_path / "b", 6, load_from=str(tmp_path / "a" / "iter_4.pth"), resume=True)
    again.load_or_resume()
    assert again.iter == 4
    logged, resumed = (r.message_hub.log_scalars for r in (first, again))
    assert isinstance(resumed["train/loss"], HistoryBuffer)
    assert resumed.keys() >= {"train/loss", "train/lr"}
    for key in ("train/loss", "train/lr"):
        for a, b in zip(logged[key].data, resumed[key].data, strict=True):
            np.testing.assert_array_equal(a, b)
        assert resumed[key].mean(2) == logged[key].mean(2)
    assert again.optim_wrapper.state_dict().keys() == first.optim_wrapper.state_dict().keys()
    again.train()
    assert len(again.message_hub.log_scalars["train/loss"].data[0]) == 6


def test_a_program_in_the_place_of_the_configuration(tmp_path):
    """mmengine executes it where it resumes."""
    runner(tmp_path / "a", 1).train()
    canary = tmp_path / "canary"
    whole = tmp_path / "a" / "iter_1.pth"
    path = tampered(whole, tmp_path / "bad.pth", config=f"open({str(canary)!r}, 'w').close()")
    again = runner(tmp_path / "b", 2, load_from=path, resume=True)
    again.load_or_resume()
    assert again.iter == 1
    assert not canary.exists()
    assert "seed = 3" in CheckpointLoader.load_checkpoint(str(whole))["meta"]["cfg"]


@pytest.mark.parametrize(
    "state",
    [
        dict(_log_history=np.zeros((2, 2))),
        dict(_log_history=np.zeros(3)),
        dict(_log_history=[1.0, 2.0]),
        dict(_count_history=np.array([None, 1])),
        dict(max_length="many"),
        dict(max_length=0),
    ],
)
def test_histories_that_are_none(state, tmp_path):
    history = HistoryBuffer(np.zeros(2), np.zeros(2))
    vars(history).update(state)
    torch.save({"message_hub": {"log_scalars": {"loss": history}}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth"))


def test_settings_of_data_sets_come_as_plain_dicts(tmp_path):
    meta = {"dataset_meta": {"classes": ("a",), "more": ConfigDict(x=ConfigDict(y=1))}}
    torch.save({"state_dict": {}, "meta": meta}, tmp_path / "a.pth")
    read = CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth"))
    assert read["meta"]["dataset_meta"]["more"] == {"x": {"y": 1}}
    assert type(read["meta"]["dataset_meta"]["more"]) is dict


def test_random_states_are_read(tmp_path):
    state = {"numpy": np.random.RandomState(0).get_state(), "torch": torch.get_rng_state()}
    torch.save({"state_dict": {}, "random": state}, tmp_path / "a.pth")
    read = CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth"))["random"]
    np.testing.assert_array_equal(read["numpy"][1], state["numpy"][1])
    assert read["torch"].equal(state["torch"])


def test_every_scheme_of_mmengine_is_ours():
    schemes = CheckpointLoader._schemes
    assert {loader.__module__ for loader in schemes.values()} == {mmengine_loading.__name__}
    assert {"", "http://", "https://", "torchvision://", "open-mmlab://"} <= schemes.keys()


@pytest.mark.parametrize(
    ("name", "getter", "address"),
    [
        ("torchvision://resnet18", "get_torchvision_models", "https://x/resnet18.pth"),
        ("open-mmlab://old", "get_external_models", "https://x/new.pth"),
        ("mmcls://vit", "get_mmcls_models", "https://x/vit.pth"),
        ("petrel://bucket/a.pth", None, "petrel://bucket/a.pth"),
    ],
)
def test_names_of_weights(name, getter, address, tmp_path, monkeypatch):
    """Each name leads to its address, which is downloaded and read as any other."""
    torch.save({"state_dict": {"backbone.a": torch.ones(2)}}, tmp_path / "a.pth")
    fetched = []

    def fetch(url):
        fetched.append(url)
        return tmp_path / "a.pth"

    class Store:
        def get_local_path(self, url):
            from contextlib import nullcontext

            return nullcontext(fetch(url))

    monkeypatch.setattr("mmseg_deepvit.checkpoints.loading.download", fetch)
    monkeypatch.setattr(mmengine_loading, "get_file_backend", lambda url: Store())
    monkeypatch.setattr(mmengine_checkpoint, "get_deprecated_model_names", lambda: {"old": "new"})
    if getter:
        key = "new" if "old" in name else name.split("//")[1]
        monkeypatch.setattr(mmengine_checkpoint, getter, lambda: {key: address})
        with pytest.raises(CheckpointError, match="mmengine knows no nothing"):
            CheckpointLoader.load_checkpoint(name.split("//")[0] + "//nothing")
    read = CheckpointLoader.load_checkpoint(name)
    assert fetched == [address]
    assert list(read["state_dict"]) == (["a"] if "mmcls" in name else ["backbone.a"])


def test_safetensors_with_their_classes(tmp_path):
    state = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2)}
    state["c"] = state["b"]
    meta = {"dataset_meta": {"classes": ("x", "y"), "palette": np.zeros((2, 3), np.uint8)}}
    save_safetensors(tmp_path / "a.safetensors", state, meta)
    read = CheckpointLoader.load_checkpoint(str(tmp_path / "a.safetensors"))
    torch.testing.assert_close(read["state_dict"], state)
    assert read["meta"]["dataset_meta"] == {"classes": ["x", "y"], "palette": [[0] * 3] * 2}
