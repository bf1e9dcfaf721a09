"""Headers of the configs, and the page and the metafile that are made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from mmengine.config import Config

from ..errors import UserError
from ..tables import markdown_table

#: Names of the data sets at the end of configs' names, in the order of the page.
_DATASETS = {
    "ade20k": "ADE20K",
    "cityscapes": "Cityscapes",
    "isic2018": "ISIC 2018",
    "camvid": "CamVid",
    "demo": "Demo",
}
_HEADS = {"linear": "Linear", "probe": "Linear on a frozen backbone", "upernet": "UPerNet"}
#: Collections of the metafile: name, title and address of the paper, code.
_COLLECTIONS = (
    (
        "DeepViT",
        "DeepViT: Towards Deeper Vision Transformer",
        "https://arxiv.org/abs/2103.11886",
        "mmseg_deepvit/backbones/deepvit.py",
    ),
    (
        "CaiT",
        "Going deeper with Image Transformers",
        "https://arxiv.org/abs/2103.17239",
        "mmseg_deepvit/backbones/cait.py",
    ),
    (
        "DiversePatch",
        "Vision Transformers with Patch Diversification",
        "https://arxiv.org/abs/2104.12753",
        "mmseg_deepvit/diversity/segmentor.py",
    ),
    (
        "ViT",
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        "https://arxiv.org/abs/2010.11929",
        "mmseg_deepvit/backbones/plain_vit.py",
    ),
)
_FIELDS = ("Paper", "Start", "Cost", "Result")
_INTRODUCTION = """\
# Configs

A config is a backbone file and a task file (data set, head, schedule) of `_base_/`, in a few lines:

```python
_base_ = ["_base_/backbones/deepvit-s.py", "_base_/tasks/upernet_ade20k.py"]
model = {{_base_.under_upernet}}
```

For a new config, copy one and change a file that it names. `under_upernet` and `under_linear` are
the backbone under either head, as its file gives them; probes take `under_linear`. A config with
the diversity losses is another config and a file of `_base_/diversity/`.

## Names

`{head}_{backbone}_{data set}.py`, as `upernet_deepvit-w64-d12_isic2018-128x128.py`:

* Head: `upernet`, `linear` for one linear layer, or `probe` for one, with a norm, on a frozen
  backbone.
* Backbone: a published architecture (`cait-s24`, `deepvit-32b`; `deepvit` alone is DeepViT-S, and
  in the demo a small one), or a kind with width and depth (`vit-w64-d12` is a plain ViT of width 64
  with 12 blocks). `diverse-…` adds the diversity losses, which all `diversepatch-…` ViTs have.
* Data set, with the image's height and width where they are not the usual ones: 512×512, for
  Cityscapes 768×768, for CamVid 352×352, for the demo 128×128.

## Headers

Each config begins with a title, its paper, the command that trains it, its cost
(`tools/get_flops.py`), and its result. The backbone file says where weights come from.

*Trained* configs were trained here, with records in `results/`. *Published* results are figures of
the papers, not of this repository. All other configs were built and shrunk for a step of training
and a prediction, no more (`pytest tests/test_configs.py`).

`python tools/list_configs.py` makes this page and metafile.yml of the headers and of the studies.
"""

_TRAINED = """\
## Models trained here

A row for each model of a study, with the mean over its seeds and images and the 95 % interval. The
study's page has the question, the options and the other tests. Hours are those of one training.

Weights come by command: `python tools/run_study.py results/STUDY/study.yml --runs 'MODEL-seed0'`
leaves them in `work_dirs/STUDY/`. None are passed on, because ISIC's images are not for commercial
use. Published weights load by file or by `timm://NAME`; README.md has the list.
"""


class Header(NamedTuple):
    """The comments at the top of a config.

    Attributes:
        name: The config's name without ending.
        title: Model, data set and schedule.
        paper: Papers, with their addresses.
        start: Commands that train it.
        cost: Parameters and operations.
        result: Scores and where they are recorded, or that there are none.
    """

    name: str
    title: str
    paper: str
    start: str
    cost: str
    result: str

    @property
    def dataset(self) -> str:
        """The data set's key in the config's name."""
        return self.name.rpartition("_")[2].split("-")[0]

    @property
    def collection(self) -> str:
        """The collection of the paper that is named first.

        Raises:
            UserError: There is no collection of that paper.
        """
        first = re.search(r"https://\S+[\w/]", self.paper)
        for name, _, address, _ in _COLLECTIONS:
            if first and first[0] == address:
                return name
        raise UserError(
            f"config {self.name}: its '# Paper:' begins with none of "
            f"{', '.join(address for _, _, address, _ in _COLLECTIONS)}; name one of them first"
        )

    @property
    def architecture(self) -> list[str]:
        """Backbone, as the config's name has it, and head."""
        head, backbone, _ = self.name.split("_")
        return [backbone, _HEADS.get(head, head)]

    @property
    def num_gpus(self) -> int:
        """Number of GPUs that the command starts."""
        found = re.search(r"dist_train\.sh \S+ (\d+)", self.start)
        return int(found[1]) if found else 1

    @property
    def state(self) -> str:
        """One of trained, published, not trained."""
        if not self.result.startswith("not trained"):
            return "trained"
        return "published" if "(published)" in self.result else "not trained"


def read_header(path: Path) -> Header:
    """Read a config's header.

    Raises:
        UserError: A line that each has to have is missing.
    """
    comments = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comments.append(line[1:].strip())
    found, key = {"title": ""}, "title"
    for comment in comments:
        if field := re.match(r"(\w+): +(.+)", comment):
            key, comment = field.groups()
        found[key] = f"{found.get(key, '')} {comment}".strip()
    for key in _FIELDS:
        if key not in found:
            raise UserError(f"config {path} has no line '# {key}:' in the comments it opens with")
    return Header(path.stem, found["title"], *(found[key] for key in _FIELDS))


def page_of_configs(paths: Iterable[Path], trained: str) -> str:
    """Make the page of configs, with a table for each data set.

    Args:
        paths: Paths of the configs.
        trained: Table of the models that studies trained.

    Raises:
        UserError: A config lacks a line, or its name ends with an unknown data set.
    """
    headers = _read_headers(paths)
    parts = [_INTRODUCTION]
    for key, name in _DATASETS.items():
        rows = [
            [f"[{h.name}]({h.name}.py)", h.cost, h.state, _linked(_told(h.result))]
            for h in headers
            if h.dataset == key
        ]
        if rows:
            parts += [
                f"## {name}\n",
                markdown_table(["config", "cost", "state", "result"], rows),
                "",
            ]
    return "\n".join([*parts, f"{_TRAINED}\n{trained}\n"])


def metafile_of_configs(paths: Iterable[Path]) -> str:
    """Make the metafile, in which mim looks for models.

    Raises:
        UserError: As :func:`page_of_configs`; or a config names a paper of no collection.
    """
    paths = sorted(paths)
    headers = _read_headers(paths)
    models = [
        {
            "Name": header.name,
            "In Collection": header.collection,
            "Config": f"configs/{path.name}",
            "Metadata": {
                "Training Data": _DATASETS[header.dataset],
                "Batch Size": header.num_gpus * _batch_size(path),
                "Architecture": header.architecture,
            },
        }
        for path, header in zip(paths, headers, strict=True)
    ]
    content = {"Collections": _collections(models), "Models": models}
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)
    return f"# Made of the configs' headers by python tools/list_configs.py.\n{text}"


def _collections(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Collections of the metafile, each with the data sets of its models."""
    collections = []
    for name, title, address, code in _COLLECTIONS:
        own = [m["Metadata"]["Training Data"] for m in models if m["In Collection"] == name]
        collections.append(
            {
                "Name": name,
                "Metadata": {"Training Data": list(dict.fromkeys(own)), "Architecture": [name]},
                "Paper": {"Title": title, "URL": address},
                "README": "README.md",
                "Frameworks": ["PyTorch"],
                "Code": {"URL": code},
            }
        )
    return collections


def _batch_size(path: Path) -> int:
    """Number of images that one GPU takes in an iteration."""
    config = Config.fromfile(path, import_custom_modules=False)
    return int(config.train_dataloader.batch_size)


def _read_headers(paths: Iterable[Path]) -> list[Header]:
    headers = [read_header(path) for path in sorted(paths)]
    for header in headers:
        if header.dataset not in _DATASETS:
            raise UserError(f"config {header.name} ends with none of {', '.join(_DATASETS)}")
    return headers


def _told(result: str) -> str:
    """The result without the words that the column of states says."""
    return re.sub(r"^not trained here[;.]? *", "", result)


def _linked(result: str) -> str:
    """Paths of results as links from the configs' folder."""
    return re.sub(r"results/[\w./-]+\.md", lambda m: f"[{m[0]}](../{m[0]})", result)
