from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_deepvit.checkpoints import normalization_meta
from mmseg_deepvit.checkpoints.normalization import HALF, IMAGENET
from mmseg_deepvit.engine import WeightsCheckHook, warn_of_normalization
from mmseg_deepvit.errors import CheckpointError

from ..checkpoints.published import DEPTH, DIMS, HEADS, dvit_repo, prefixed

IMAGENET_SETTINGS = dict(mean=list(IMAGENET.mean), std=list(IMAGENET.std))
HALF_SETTINGS = dict(mean=list(HALF.mean), std=list(HALF.std))


def model_config(path=None, normalization=IMAGENET_SETTINGS):
    backbone = dict(
        type="DeepViT",
        arch=dict(embed_dims=DIMS, num_layers=DEPTH, num_heads=HEADS, mlp_ratio=4),
        img_size=12,
        patch_size=4,
        init_cfg=path and dict(type="Pretrained", checkpoint=str(path)),
    )
    return dict(
        type="mmseg.EncoderDecoder",
        data_preprocessor=dict(type="mmseg.SegDataPreProcessor", size=(12, 12), **normalization),
        backbone=backbone,
        decode_head=dict(
            type="FCNHead", in_channels=DIMS, channels=DIMS, num_classes=2, num_convs=0,
            concat_input=False, in_index=0,
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )  # fmt: skip


class Images(torch.utils.data.Dataset):
    metainfo = dict(classes=("a", "b"))

    def __len__(self):
        return 2

    def __getitem__(self, index):
        labels = PixelData(data=torch.zeros(1, 12, 12, dtype=torch.long))
        sample = SegDataSample(gt_sem_seg=labels, metainfo=dict(img_shape=(12, 12)))
        return dict(inputs=torch.zeros(3, 12, 12, dtype=torch.uint8), data_samples=sample)


def run(tmp_path, model, load_from=None):
    """Train for an iteration, as mmseg's own tool would; returns the lines of the log."""
    loader = torch.utils.data.DataLoader(Images(), batch_size=2, collate_fn=pseudo_collate)
    runner = Runner(
        MODELS.build(model),
        str(tmp_path / "run"),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=False, max_iters=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.0)),
        load_from=load_from and str(load_from),
        custom_hooks=[dict(type="EMAHook"), dict(type="WeightsCheckHook")],
        experiment_name=f"weights-{tmp_path.name}",
        default_scope="mmseg",
    )
    runner.train()
    (log,) = (tmp_path / "run").glob("*/*.log")
    return runner, log.read_text().splitlines()


def mismatches(lines):
    return [line for line in lines if "was trained on images normalised" in line]


@pytest.fixture
def published(tmp_path):
    torch.save({"state_dict": dvit_repo()[0]}, tmp_path / "deepvit.pth")
    return tmp_path / "deepvit.pth"


@pytest.mark.parametrize("normalization", [IMAGENET_SETTINGS, HALF_SETTINGS, {}])
def test_training_says_that_weights_want_another_normalisation(tmp_path, published, normalization):
    _, lines = run(tmp_path, model_config(published, normalization))
    said = mismatches(lines)
    assert len(said) == (normalization != HALF_SETTINGS)
    for line in said:
        has = "mean [123.675,116.28,103.53] and std" if normalization else "no normalisation"
        assert f"{published} was trained on images normalised by mean [127.5,127.5,127.5]" in line
        assert f"the config has {has}" in line
        assert 'model.data_preprocessor.mean="[127.5,127.5,127.5]"' in line
        assert 'model.data_preprocessor.std="[127.5,127.5,127.5]"' in line


@pytest.mark.parametrize("flat", [False, True])
def test_load_from_takes_a_whole_segmentor(tmp_path, flat):
    """Also one in published names, before EMAHook sees it; says how it was normalised."""
    model = MODELS.build(model_config())
    model.init_weights()
    heads = {k: v for k, v in model.state_dict().items() if k.startswith("decode_head.")}
    state = dvit_repo()[0]
    whole = prefixed("backbone.", {k: v for k, v in state.items() if "head" not in k}) | heads
    content = whole if flat else {"state_dict": whole}
    torch.save({**content, "meta": normalization_meta(HALF)}, tmp_path / "whole.pth")
    runner, lines = run(tmp_path, model_config(), tmp_path / "whole.pth")
    average = next(h.ema_model.module for h in runner.hooks if isinstance(h, EMAHook))
    for taken in (runner.model, average):
        mix = taken.backbone.blocks[1].attn.post_mix.weight
        assert torch.equal(mix, state["blocks.1.attn.reatten_matrix.weight"][..., 0, 0])
    assert len(mismatches(lines)) == 1
    assert "do not match exactly" not in "\n".join(lines)


def loaded(content, path="a.pth"):
    """What the hook does where mmengine has read a file."""
    runner = SimpleNamespace(_load_from=path, model=MODELS.build(model_config()))
    WeightsCheckHook().after_load_checkpoint(runner, content(runner.model.state_dict()))


@pytest.mark.parametrize(
    "content",
    [
        lambda state: {"state_dict": state},
        lambda state: {"model": state},
        lambda state: state,
        lambda state: {"state_dict": {}},
        lambda state: {"state_dict": {f"backbone.layers.{k}": v for k, v in state.items()}},
    ],
)
def test_load_from_refuses_a_backbones_file(content):
    with pytest.raises(CheckpointError, match=r"vit\.pth fits 0 of .* \d+ tensors") as caught:
        loaded(lambda _: content(dvit_repo()[0]), "vit.pth")
    said = str(caught.value)
    assert "init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=vit.pth" in said
    assert "\n" not in said


def test_load_from_refuses_another_segmentor():
    def wider(state):
        return {"state_dict": {k: torch.zeros(2, *v.shape) for k, v in state.items()}}

    with pytest.raises(CheckpointError, match=r"\(it holds another segmentor\); give one"):
        loaded(wider)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int8])
def test_numbers_of_another_kind(dtype):
    """PyTorch would drop the imaginary part, or take quantised steps for values."""
    with pytest.raises(CheckpointError, match=f"holds {dtype} numbers".replace("torch.", "")):
        loaded(lambda state: {"state_dict": {k: v.to(dtype) for k, v in state.items()}})


def test_a_part_of_a_segmentor_passes():
    """mmengine says what is missing; half of the file's tensors, or of the model's, are used."""
    loaded(lambda s: {"state_dict": {k: v for k, v in s.items() if "decode_head" in k}})
    loaded(lambda s: {"state_dict": {f"module.{k}": v.half() for k, v in s.items()}})


def test_what_is_not_known_says_nothing(monkeypatch):
    logged = []
    model = MODELS.build(model_config())
    monkeypatch.setattr(MMLogger, "callHandlers", lambda self, record: logged.append(record))
    warn_of_normalization(model, None, "a.pth")
    warn_of_normalization(model, IMAGENET, "a.pth")
    assert not logged
