"""Full training steps: mmengine's runner with resume, and two processes."""

import pytest
import timm
import torch
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

import mmseg_deepvit.timm_models  # noqa: F401  (registers the models)
from mmseg_deepvit.attention import HeadMixingAttention
from mmseg_deepvit.diversity import head_cosine_loss
from mmseg_deepvit.diversity.classification import ClassifierDiversity, DiverseClassificationTask

from ..two_processes import run_in_two
from .cases import NAMED, make_batch, make_config, make_segmentor

WEIGHTED = ["diversity.loss_cosine", "diversity.loss_contrastive", "diversity.loss_mixing"]


class Pictures(Dataset):
    metainfo: dict = {}

    def __len__(self):
        return 4

    def __getitem__(self, i):
        inputs, samples = make_batch(batch=1, seed=i)
        return dict(inputs=inputs[0], data_samples=samples[0])


def train(work_dir, iterations, resume):
    """Train to an iteration; return the factor of the weights in each, and the runner."""
    model = make_config("ours", diversity=dict(warmup_iters=8, patch_mix=dict(patch_size=8)))
    model["data_preprocessor"] = dict(type="SegDataPreProcessor", size=(64, 64))
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Pictures(),
            batch_size=2,
            num_workers=0,
            sampler=dict(type="InfiniteSampler"),
            collate_fn=dict(type="pseudo_collate"),
        ),
        train_cfg=dict(by_epoch=False, max_iters=iterations),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3)),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=3)),
        default_scope="mmseg",
        experiment_name=f"{work_dir.name}-{iterations}",
        log_level="ERROR",
        resume=resume,
        randomness=dict(seed=0),
    )
    factors = []
    plain = runner.model._warmup_factor
    runner.model._warmup_factor = lambda: factors.append(plain()) or factors[-1]
    runner.train()
    return factors, runner


@pytest.fixture(autouse=True)
def _no_hub_left():
    yield
    MessageHub._instance_dict.clear()


def test_the_runner_logs_each_loss_and_resumes_the_warmup(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # mmengine 0.10 on new PyTorch
    factors, runner = train(tmp_path, 3, resume=False)
    assert factors == [0, 1 / 8, 2 / 8]
    logged = runner.message_hub.log_scalars
    assert {f"train/{name}" for name in WEIGHTED} <= set(logged)
    head = runner.model.patch_head.weight.detach().clone()

    MessageHub._instance_dict.clear()
    factors, runner = train(tmp_path, 6, resume=True)
    assert factors == [3 / 8, 4 / 8, 5 / 8]
    assert not torch.equal(runner.model.patch_head.weight, head)


def rank_batch(rank, iteration):
    """Process 1 has nothing but ignored pixels in the second iteration."""
    inputs, samples = make_batch(seed=10 * rank + iteration)
    if (rank, iteration) == (1, 1):
        for sample in samples:
            sample.gt_sem_seg.data.fill_(255)
    return inputs, samples


class Step(torch.nn.Module):
    """Module for a distributed wrapper, from images to the sum of all losses."""

    def __init__(self, segmentor):
        super().__init__()
        self.segmentor = segmentor

    def forward(self, inputs, samples):
        return self.segmentor.parse_losses(self.segmentor(inputs, samples, mode="loss"))[0]


def set_iteration(iteration):
    MessageHub.get_instance("test").update_info("iter", iteration)


#: A trunk that recomputes its blocks, and the backbone with stages.
SEGMENTORS = [("ours", dict(with_cp=True)), ("swin", dict(head="uper"))]


def make_step(kind, options):
    early, last = NAMED[kind]
    diversity = dict(early=early, last=last, warmup_iters=2, heads=0.5 * (kind == "ours"))
    # In float64: in float32 the order of summation alone makes differences of 3e-6.
    return Step(make_segmentor(kind, diversity=diversity, **options)).double()


def flat_gradient(module):
    """One vector; a parameter without gradient is an error."""
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters()])


def gradients_of(step, rank):
    """Gradients in three iterations: weights of zero, half and one."""
    gradients = []
    for iteration in range(3):
        MessageHub.get_instance("test").update_info("iter", iteration)
        step.zero_grad()
        inputs, samples = rank_batch(rank, iteration)
        step(inputs.double(), samples).backward()
        gradients.append(flat_gradient(step))
    return torch.stack(gradients)


def head_cosine_gradients(ranks):
    """Gradients of the heads term with synchronised statistics, for images of these processes."""
    torch.manual_seed(0)
    settings = dict(post_mix=True, mix_norm_cfg=dict(type="SyncBN"))
    modules = [HeadMixingAttention(12, 3, **settings).double() for _ in range(2)]
    tokens = torch.randn(2, 2, 1, 7, 12, dtype=torch.float64)
    tokens = tokens[:, list(ranks)].flatten(1, 2)
    pairs = zip(modules, tokens, strict=True)
    layers = [(module, module.split_heads(module.qkv(x))) for module, x in pairs]
    loss = head_cosine_loss(layers, block_rows=3)
    parameters = [p for module in modules for p in module.parameters()]
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([grad.detach().flatten() for grad in found])


def classifier_gradients(rank, distributed):
    """Gradients of timm's task with all losses; each process draws its rectangles."""
    torch.manual_seed(0)
    settings = dict(img_size=32, patch_size=8, num_layers=3, num_classes=5, patch_head=True)
    model = timm.create_model("diversepatch_t", **settings).double()
    diversity = ClassifierDiversity(cosine=1.0, heads=0.5)
    make = DiverseClassificationTask.with_diversity(diversity)
    task = make(model=model, criterion=torch.nn.CrossEntropyLoss(), verbose=False)
    if distributed:
        task.prepare_distributed()
    torch.manual_seed(rank)
    images, classes = torch.randn(2, 3, 32, 32).double(), torch.randint(5, (2,))
    task(images, classes)["loss"].backward()
    return flat_gradient(model)


def work(rank, results):
    results[rank, "heads"] = head_cosine_gradients([rank])
    results[rank, "classifier"] = classifier_gradients(rank, distributed=True)
    for kind, options in SEGMENTORS:
        step = DistributedDataParallel(make_step(kind, options))
        results[rank, kind] = gradients_of(step, rank)


@pytest.mark.timeout(300)
def test_two_processes_average_their_gradients(tmp_path):
    """Every parameter has a gradient in every iteration, also if all pixels are ignored."""
    results = run_in_two(work, tmp_path)
    for kind, options in SEGMENTORS:
        alone = [gradients_of(make_step(kind, options), rank) for rank in (0, 1)]
        for rank in (0, 1):
            ours = results[rank, kind]
            torch.testing.assert_close(ours, (alone[0] + alone[1]) / 2, rtol=1e-9, atol=1e-12)
    ours = (results[0, "heads"] + results[1, "heads"]) / 2
    torch.testing.assert_close(ours, head_cosine_gradients([0, 1]), rtol=1e-9, atol=1e-12)
    alone = [classifier_gradients(rank, distributed=False) for rank in (0, 1)]
    for rank in (0, 1):
        ours = results[rank, "classifier"]
        torch.testing.assert_close(ours, (alone[0] + alone[1]) / 2, rtol=1e-9, atol=1e-12)
