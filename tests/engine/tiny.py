"""Runs of a model of one number, which take no time and write small files."""

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from torch.utils.data import Dataset


class Numbers(Dataset):
    """Numbers 0, 1, 2, …; those that are loaded are noted in a list."""

    def __init__(self, length=24, loaded=None):
        self.length, self.loaded = length, loaded

    def __deepcopy__(self, memo):
        return self  # mmengine copies configs, and what is in them

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if self.loaded is not None:
            self.loaded.append(index)
        return torch.tensor([float(index)])


class Model(BaseModel):
    def __init__(self, width=1):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, x, mode="loss"):
        return dict(loss=((self.weight.sum() - x) ** 2).mean()) if mode == "loss" else [x]


class Scores(BaseMetric):
    """Scores that are given for each iteration; the last one goes on."""

    runner = None

    def __init__(self, **scores):
        super().__init__()
        self.scores = scores

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        step = self.runner.iter
        return {name: values[min(step, len(values)) - 1] for name, values in self.scores.items()}


def collate(rows):
    return dict(x=torch.stack(rows))


def loader(data, batch_size=2, **sampler):
    sampler = dict(type="DefaultSampler", **sampler)
    return dict(
        batch_size=batch_size, num_workers=0, dataset=data, sampler=sampler, collate_fn=collate
    )


def make_tiny(work_dir, iterations=4, scores=None, width=1, batch_size=2, data=None, **options):
    """A runner that saves in each iteration, and validates if there are scores.

    Options of the hook are ``hook``; others are the runner's.
    """
    MessageHub._instance_dict.clear()
    Visualizer._instance_dict.clear()
    hook = dict(type="mmseg.AtomicCheckpointHook", interval=1, max_keep_ckpts=2, by_epoch=False)
    hook.update(options.pop("hook", {}))
    if scores:
        hook = dict(save_best=list(scores), rule="greater") | hook
        options |= dict(val_dataloader=loader(Numbers(2), shuffle=False), val_cfg=dict())
        options["val_evaluator"] = [Scores(**scores)]
    settings = dict(
        model=Model(width),
        work_dir=str(work_dir),
        train_dataloader=loader(data or Numbers(), batch_size, shuffle=True),
        train_cfg=dict(type="mmseg.ResumableTrainLoop", max_iters=iterations, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9)),
        default_hooks=dict(checkpoint=hook),
        randomness=dict(seed=0),
        experiment_name=f"{work_dir}-{options.get('resume', False)}",
        log_level="ERROR",
        default_scope="mmseg",
    )
    Scores.runner = Runner(**(settings | options))
    return Scores.runner


def train_tiny(work_dir, iterations=4, scores=None, **options):
    """Train, and return the last checkpoint."""
    runner = make_tiny(work_dir, iterations, scores, **options)
    runner.train()
    return torch.load((work_dir / "last_checkpoint").read_text(), weights_only=False)


def names(folder):
    """Checkpoints in a folder."""
    return sorted(path.name for path in folder.glob("*.pth"))
