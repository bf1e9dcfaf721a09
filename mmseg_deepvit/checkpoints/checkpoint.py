"""The content of a checkpoint file, and the weights in it: their key, their names' prefixes."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError

#: Keys under which published files hold their weights, the best first. timm's training (DeepViT)
#: measures the published accuracy on the moving average, ``state_dict_ema``. DeiT's training (DeiT,
#: CaiT, PatchVisionTransformer) measures it on the model, not on ``model_ema``.
CONTAINERS = ("state_dict_ema", "state_dict", "model", "model_ema", "teacher", "module")
#: Keys to look under where the user chooses.
CHOICES = {
    "ema": ("state_dict_ema", "model_ema", "teacher"),
    "model": ("state_dict", "model", "student", "module"),
}
PREFIXES = ("module.", "backbone.")


class Checkpoint(dict[str, Any]):
    """What a file holds, or its weights alone; errors name the file.

    Args:
        content: Names and values.
        path: Path or address of the file, as the user gave it.
        meta: Plain data about the weights; None for those in the content.

    Attributes:
        path: Path or address of the file.
        meta: Plain data about the weights; empty where the file has none.
    """

    def __init__(
        self, content: Mapping[str, Any], path: str | os.PathLike[str], meta: Any = None
    ) -> None:
        super().__init__(content)
        self.path = os.fspath(path)
        meta = content.get("meta") if meta is None else meta
        self.meta: Mapping[str, Any] = meta if isinstance(meta, Mapping) else {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a dict of Python's, so that files made from this one need no package."""
        return OrderedDict, (), None, None, iter(self.items())

    def part(self, content: Mapping[str, Any]) -> Checkpoint:
        """Return other content of the same file."""
        return Checkpoint(content, self.path, self.meta)

    def error(self, cause: str, remedy: str) -> CheckpointError:
        """Return an error: its cause, which follows "checkpoint FILE", and what to do."""
        return CheckpointError(f"checkpoint {self.path} {cause}; {remedy}")

    def find_weights(self, choice: str | None = None) -> Checkpoint:
        """Find all weights that the file holds.

        Args:
            choice: ``'ema'`` for the moving average, ``'model'`` for the model that it averages;
                None for the first of :data:`CONTAINERS`.

        Returns:
            Names, as in the file, and tensors.

        Raises:
            CheckpointError: The file has no such weights, or tensors that no model can take.
            ValueError: ``choice`` is another string.
        """
        if choice is not None and choice not in CHOICES:
            raise ValueError(f"weights must be one of {', '.join(CHOICES)} or None, got {choice!r}")
        places = list(self._places(choice))
        found = (self.tensors(self.get(key) if key else self) for key in places)
        weights = next((tensors for tensors in found if tensors), None)
        if weights is None:
            held = ", ".join(map(str, list(self)[:6])) or "nothing"
            sought = ", ".join(key or "at the top" for key in places)
            what = {"ema": " of a moving average", "model": " but of a moving average"}
            raise self.error(
                f"holds no weights{what.get(choice or '', '')} (found: {held}), which are looked "
                f"for under {sought}",
                "save model.state_dict()",
            )
        return weights.check_plain()

    def find_backbone(self, choice: str | None = None) -> Checkpoint:
        """Find the weights as :meth:`find_weights` does, and take off prefixes of their names.

        These are prefixes of wrappers and segmentors; of a segmentor only its backbone is kept.
        """
        return self.find_weights(choice).split_backbone()[1]

    def split_backbone(self) -> tuple[str, Checkpoint]:
        """Split off the prefix of a backbone's names: the prefix, and the weights without it."""
        joined, state = "", dict(self)
        while True:
            for prefix in PREFIXES:
                inner = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
                if inner:
                    joined, state = joined + prefix, inner
                    break
            else:
                return joined, self.part(state)

    def tensors(self, mapping: Any) -> Checkpoint:
        """Return the named tensors of a mapping in the file; none if it is no mapping."""
        items = mapping.items() if isinstance(mapping, Mapping) else ()
        return self.part({k: v for k, v in items if isinstance(k, str) and isinstance(v, Tensor)})

    def check_plain(self) -> Checkpoint:
        """Raise CheckpointError if a tensor is sparse, quantised, nested or without values."""
        for name, value in self.items():
            if kind := _special_kind(value):
                raise self.error(
                    f"holds a {kind} tensor ({name}), and models here take plain ones",
                    "save the weights dense, in floating point",
                )
        return self

    def _places(self, choice: str | None) -> Iterator[str]:
        """Keys to look under, the best first; an empty key is the content itself."""
        if choice and "ema_state_dict" in self:
            # mmengine's EMAHook exchanges the two when it saves.
            yield "state_dict" if choice == "ema" else "ema_state_dict"
            return
        yield from CHOICES[choice] if choice else CONTAINERS
        if choice != "ema":
            yield ""


def _special_kind(value: Tensor) -> str | None:
    if value.is_meta:
        return "meta (empty)"
    if value.is_quantized:
        return "quantised"
    if value.is_nested:
        return "nested"
    return "sparse" if value.layout != torch.strided else None
