"""timm's pretrained models: their weights, and the images' normalisation, by name.

``timm://NAME`` is looked for in torch.hub's folder and in the Hugging Face cache, which timm itself
fills. If it is in neither, it is downloaded into that cache, or from its authors' address.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, first_line
from .download import TIMEOUT, download_folder, transfer
from .normalization import Normalization

TIMM_SCHEME = "timm://"


def fetch_timm(name: str) -> Path:
    """Find, or download, the weights of a pretrained model of timm.

    Args:
        name: Name of the model, with or without ``timm://`` and tag, e.g.
            ``vit_small_patch16_224.augreg_in21k``. Without a tag, timm's default is taken.

    Returns:
        Path of a file on this machine.

    Raises:
        CheckpointError: timm has no such model or no weights for it, or they are not here and
            cannot be downloaded. The message names the address, and the place for the file.
    """
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache

    name, cfg = pretrained_cfg(name)
    folder = download_folder()
    own = [folder / f"{name}{suffix}" for suffix in (".safetensors", ".pth")]
    published = _published(cfg)
    url = cfg.url if cfg.url and not cfg.url.endswith(".npz") else ""
    if not published and not url:
        raise CheckpointError(
            f"timm has no weights that can be read for {name}; give one of timm.list_pretrained()"
        )
    theirs = folder / url.rsplit("/", 1)[-1]
    cached = [try_to_load_from_cache(**file) for file in published]
    for path in (*own, *(Path(path) for path in cached if isinstance(path, str)), theirs):
        if path.is_file():
            return path
    try:
        return _download(published, url, theirs)
    except OSError as error:
        source, target = (hf_hub_url(**published[0]), own[0]) if published else (url, theirs)
        raise CheckpointError(
            f"{TIMM_SCHEME}{name} is not on this machine and cannot be downloaded ({error}); fetch "
            f"{source} and save it as {target} (looked for there, as {own[1]}, and in "
            f"{constants.HF_HUB_CACHE})"
        ) from error


def timm_normalization(name: str) -> Normalization:
    """Normalisation of the images that a model of timm was trained on.

    Args:
        name: Name of the model, as :func:`fetch_timm` takes it.

    Raises:
        CheckpointError: timm has no such model.
    """
    _, cfg = pretrained_cfg(name)
    mean, std = (tuple(round(255 * value, 3) for value in values) for values in (cfg.mean, cfg.std))
    return Normalization(mean, std)


def pretrained_cfg(name: str) -> tuple[str, Any]:
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
        raise CheckpointError(f"timm has no model {name}; {hint}")
    return f"{cfg.architecture}.{cfg.tag}" if cfg.tag else cfg.architecture, cfg


def _published(cfg: Any) -> list[dict[str, Any]]:
    """Files on Hugging Face, the best first, as arguments of ``hf_hub_download``."""
    if not cfg.hf_hub_id:
        return []
    repository, _, revision = cfg.hf_hub_id.partition("@")
    named = [cfg.hf_hub_filename] if cfg.hf_hub_filename else None
    return [
        dict(repo_id=repository, filename=file, revision=revision or None)
        for file in named or ("model.safetensors", "pytorch_model.bin")
    ]


def _download(published: list[dict[str, Any]], url: str, target: Path) -> Path:
    """Download the first file that a server has; OSError tells the answer of each server."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    answers = []
    for file in published:
        try:
            # hf_hub_download alone asks a dead server for half a minute, and aloud.
            get_hf_file_metadata(hf_hub_url(**file), timeout=TIMEOUT)
            return Path(hf_hub_download(**file))
        except Exception as error:  # of the hub or of its HTTP client, which its versions change
            answers.append(f"Hugging Face: {first_line(error)}")
            if not isinstance(error, EntryNotFoundError):
                break
    if url:
        try:
            transfer(url, target, target.name)
            return target
        except OSError as error:
            answers.append(f"{url}: {error}")
    raise ConnectionError("; ".join(answers))
