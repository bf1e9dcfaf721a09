import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.runner import CheckpointLoader
from torch import nn

from mmseg_deepvit.checkpoints import Checkpoint, read_checkpoint, segmentor_state_dict
from mmseg_deepvit.errors import CheckpointError


def container(number):
    return {"module.a": torch.full((2,), float(number))}


#: What training scripts save, and the container of the moving average and of the model; the first
#: is what the published accuracy was measured with.
SCRIPTS = {
    "timm (DeepViT)": (("state_dict", "state_dict_ema"), "state_dict_ema", "state_dict"),
    "DeiT (CaiT, DiversePatch)": (("model_ema", "model"), "model_ema", "model"),
    "DINO": (("student", "teacher"), "teacher", "student"),
}
PUBLISHED = {"timm (DeepViT)": "ema", "DeiT (CaiT, DiversePatch)": "model", "DINO": "ema"}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("weights", [None, "ema", "model"])
def test_a_model_and_its_moving_average(script, weights):
    keys, ema, model = SCRIPTS[script]
    content = {key: container(i) for i, key in enumerate(keys)} | {"epoch": 3, "args": None}
    expected = {"ema": ema, "model": model}[weights or PUBLISHED[script]]
    found = Checkpoint(content, "a.pth").find_backbone(weights)
    assert found["a"].equal(content[expected]["module.a"])


@pytest.mark.parametrize("weights", ["ema", "model"])
def test_mmengine_exchanges_the_two_when_it_saves(weights):
    """The names in the file say the opposite of what they hold."""
    model = nn.Linear(2, 1)
    hook = EMAHook()
    hook.src_model = model
    hook.ema_model = nn.Module()
    hook.ema_model.module = nn.Linear(2, 1)
    content = {"state_dict": dict(model.state_dict())}
    hook.before_save_checkpoint(None, content)
    expected = hook.ema_model.module if weights == "ema" else model
    torch.testing.assert_close(
        dict(Checkpoint(content, "a").find_backbone(weights)),
        dict(expected.state_dict()),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize(
    ("content", "weights", "message"),
    [
        ({"model": container(1)}, "ema", "no weights of a moving average .*found: model"),
        (container(1), "ema", "no weights of a moving average"),
        ({"state_dict_ema": container(1)}, "model", "no weights but of a moving average"),
        ({"epoch": 3}, None, "holds no weights .*found: epoch.*at the top"),
    ],
)
def test_weights_that_are_not_there(content, weights, message):
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(content, "a.pth").find_weights(weights)


def test_a_choice_that_is_none():
    with pytest.raises(ValueError, match="weights must be one of ema, model or None, got 'best'"):
        Checkpoint({"model": container(1)}, "a.pth").find_weights("best")


def test_flat_files_hold_the_model():
    assert Checkpoint(container(1), "a.pth").find_weights("model").keys() == {"module.a"}


SPECIAL = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "meta": lambda: torch.empty(3, device="meta"),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SPECIAL)
def test_tensors_without_plain_values(kind, tmp_path):
    """Refused in one line, whoever reads the file."""
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"a": torch.ones(2), "b": SPECIAL[kind]()}}, path)
    content = read_checkpoint(path)
    for take in (
        content.find_weights,
        lambda: segmentor_state_dict(content),
        lambda: CheckpointLoader.load_checkpoint(str(path)),
    ):
        with pytest.raises(
            CheckpointError, match=rf"a\.pth holds a {kind}.* tensor \(b\)"
        ) as caught:
            take()
        assert "\n" not in str(caught.value)
