import pytest
import torch

from mmseg_deepvit.checkpoints import Checkpoint, load_whole_model, segmentor_state_dict
from mmseg_deepvit.checkpoints.compatibility import check_same_model
from mmseg_deepvit.errors import CheckpointError

OWN = {
    "backbone.a": torch.zeros(2, 3),
    "decode_head.conv_seg.weight": torch.zeros(150, 4, 1, 1),
    "decode_head.conv_seg.bias": torch.zeros(150),
}


def test_the_same_model_passes():
    check_same_model(OWN, Checkpoint({k: v.clone() for k, v in OWN.items()}, "x.pth"))


def test_other_classes_are_named_as_such():
    state = OWN | {
        "decode_head.conv_seg.weight": torch.zeros(2, 4, 1, 1),
        "decode_head.conv_seg.bias": torch.zeros(2),
    }
    with pytest.raises(CheckpointError, match=r"x\.pth has 2 classes and the config 150"):
        check_same_model(OWN, Checkpoint(state, "x.pth"))


def test_another_model_is_named_as_such():
    state = {**OWN, "backbone.a": torch.zeros(3, 3), "neck.b": torch.zeros(1)}
    del state["decode_head.conv_seg.bias"]
    with pytest.raises(CheckpointError, match="another model") as caught:
        check_same_model(OWN, Checkpoint(state, "x.pth"))
    for part in (
        "1 missing (decode_head.conv_seg.bias)",
        "1 unexpected (neck.b)",
        "1 of another shape (backbone.a)",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.to(torch.complex64), "complex64 numbers in weight, and the model float32"),
        (lambda v: v.to(torch.int8), "int8 numbers in weight, and the model float32"),
        (lambda v: v.half(), None),
        (lambda v: v.double(), None),
    ],
)
def test_numbers_that_would_lose_a_part(change, said):
    model = torch.nn.BatchNorm2d(2)
    state = {**model.state_dict(), "weight": change(torch.full((2,), 3.0))}
    state["num_batches_tracked"] = torch.tensor(7.0)
    if said is None:
        load_whole_model(model, Checkpoint(state, "x.pth"))
        assert model.weight.tolist() == [3, 3]
        assert model.num_batches_tracked == 7
        return
    with pytest.raises(CheckpointError, match=rf"x\.pth holds {said}"):
        load_whole_model(model, Checkpoint(state, "x.pth"))
    state = {**model.state_dict(), "num_batches_tracked": torch.tensor(0.5)}
    with pytest.raises(CheckpointError, match="float32 numbers in num_batches_tracked"):
        load_whole_model(model, Checkpoint(state, "x.pth"))


def test_segmentor_state_dict():
    state = segmentor_state_dict(Checkpoint({"state_dict": {"module.a": torch.zeros(1)}}, "x"))
    assert list(state) == ["a"]
    with pytest.raises(CheckpointError, match="x holds no state_dict"):
        segmentor_state_dict(Checkpoint({"state_dict": {}}, "x"))


@pytest.mark.parametrize("owner", ["model", "file"])
def test_a_head_that_only_training_uses_may_differ(owner):
    """A published segmentor has none; the diversity losses give a segmentor one."""
    model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(2, 2)})
    state = {k: torch.ones_like(v) for k, v in model.state_dict().items()}
    if owner == "model":
        model["patch_head"] = torch.nn.Linear(2, 3)
    else:
        state["patch_head.weight"] = torch.zeros(3, 2)
    load_whole_model(model, Checkpoint(state, "x.pth"))
    assert (model["backbone"].weight == 1).all()
