"""timm's pretrained models: their weights by name, and what the weights do not tell.

``timm://NAME`` is looked for in torch.hub's folder, then in the Hugging Face cache that timm itself
fills, and downloaded into the first where it is in neither.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import torch

from ..errors import CheckpointError
from .download import download_folder, transfer
from .normalization import Normalization

TIMM_SCHEME = "timm://"
_FILES = ("model.safetensors", "pytorch_model.bin")


def fetch_timm(name: str) -> Path:
    """Find, or download, the weights of a pretrained model of timm.

    Args:
        name: A model with or without its tag, e.g. ``vit_small_patch16_224.augreg_in21k``, with or
            without ``timm://``. Without tag it is timm's default.

    Returns:
        A file on this machine.

    Raises:
        CheckpointError: timm has no such model or no weights for it, or they are not here and
            cannot be downloaded. The message says what to fetch and where it is looked for.
    """
    name, cfg = _pretrained_cfg(name)
    own = [download_folder() / f"{name}{suffix}" for suffix in (".safetensors", ".pth")]
    sources = list(_sources(cfg, own))
    if not sources:
        raise CheckpointError(
            f"timm has no weights that can be read for {name}: give one of timm.list_pretrained()"
        )
    for path in (*own, *_cached(cfg), *(target for _, target in sources)):
        if path.is_file():
            return path
    try:
        return _transfer_first(sources)
    except OSError as error:
        url, target = sources[0]
        raise CheckpointError(
            f"{TIMM_SCHEME}{name} is not on this machine and cannot be downloaded ({error}): fetch "
            f"{url} and save it as {target} (looked for there, as {own[1]}, and in {_hf_cache()})"
        ) from error


def timm_architecture(name: str) -> dict[str, Any]:
    """What a vision transformer of timm is made of; a file does not tell its number of heads.

    Args:
        name: As :func:`fetch_timm` takes it.

    Returns:
        ``num_heads``, ``num_layers`` (blocks), ``embed_dims`` (width) and ``patch_size`` (height,
        width), the words of our backbones.

    Raises:
        CheckpointError: timm has no such model, or it is no plain vision transformer.
    """
    import timm

    name, _ = _pretrained_cfg(name)
    try:
        with torch.device("meta"):  # no memory, no random numbers
            model: Any = timm.create_model(name)
    except (NotImplementedError, RuntimeError):  # older timm looks at values while it builds
        model = timm.create_model(name)
    if not isinstance(model, (timm.models.VisionTransformer, timm.models.Cait)):
        raise CheckpointError(
            f"{TIMM_SCHEME}{name} is no plain vision transformer: give a ViT, a DeiT or a CaiT"
        )
    attention: Any = model.blocks[0].attn
    embed: Any = model.patch_embed
    return {
        "num_heads": attention.num_heads,
        "num_layers": len(model.blocks),
        "embed_dims": model.embed_dim,
        "patch_size": tuple(embed.patch_size),
    }


def timm_normalization(name: str) -> Normalization:
    """How the images were normalised that a model of timm was trained on.

    Args:
        name: As :func:`fetch_timm` takes it.

    Raises:
        CheckpointError: timm has no such model.
    """
    _, cfg = _pretrained_cfg(name)
    mean, std = (tuple(round(255 * value, 3) for value in values) for values in (cfg.mean, cfg.std))
    return Normalization(mean, std)


def _pretrained_cfg(name: str) -> tuple[str, Any]:
    """Full name and configuration of a model of timm."""
    import timm

    name = name.removeprefix(TIMM_SCHEME)
    try:
        cfg: Any = timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # no such tag
        cfg = None
    if cfg is None:
        known = [*timm.list_pretrained(), *timm.list_models()]
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see timm.list_pretrained()"
        raise CheckpointError(f"timm has no model {name}: {hint}")
    return f"{cfg.architecture}.{cfg.tag}" if cfg.tag else cfg.architecture, cfg


def _repository(cfg: Any) -> tuple[str, str | None, tuple[str, ...]]:
    """Repository, revision and files on Hugging Face."""
    repository, _, revision = cfg.hf_hub_id.partition("@")
    files = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else _FILES
    return repository, revision or None, files


def _cached(cfg: Any) -> Iterator[Path]:
    from huggingface_hub import try_to_load_from_cache

    if cfg.hf_hub_id:
        repository, revision, files = _repository(cfg)
        for file in files:
            path = try_to_load_from_cache(repository, file, revision=revision)
            if isinstance(path, str):
                yield Path(path)


def _sources(cfg: Any, own: list[Path]) -> Iterator[tuple[str, Path]]:
    """Addresses to download from, and the files they become."""
    from huggingface_hub import hf_hub_url

    if cfg.hf_hub_id:
        repository, revision, files = _repository(cfg)
        for file in files:
            safe = file.endswith(".safetensors")
            yield hf_hub_url(repository, file, revision=revision), own[0] if safe else own[1]
    if cfg.url and not cfg.url.endswith(".npz"):
        yield cfg.url, download_folder() / cfg.url.rsplit("/", 1)[-1]


def _transfer_first(sources: Sequence[tuple[str, Path]]) -> Path:
    """Download the first file that a server has; OSError says what each server answered.

    Hugging Face's own client is not used: without a network it tries for half a minute, and aloud.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    answers: dict[str, OSError] = {}
    for url, target in sources:
        server = urlsplit(url).netloc
        if not isinstance(answers.get(server), (HTTPError, NoneType)):
            continue  # it did not answer, and would make the user wait once more
        try:
            transfer(url, target)
            return target
        except OSError as error:
            answers[server] = error
    raise ConnectionError("; ".join(f"{server}: {error}" for server, error in answers.items()))


def _hf_cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)
