"""Download files whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

import torch
from rich.console import Console
from rich.progress import wrap_file

from ..errors import CheckpointError
from ..files import replacing

#: Seconds without an answer, or without another byte, after which a download is given up.
TIMEOUT = 20.0


def download_folder() -> Path:
    """Where downloads go and are looked for: torch.hub's ``checkpoints`` folder."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def download(url: str) -> Path:
    """Download a file once.

    Args:
        url: An ``http(s)://`` address.

    Returns:
        The file in :func:`download_folder`: the last part of the address and a digest of the whole,
        as many addresses end in ``model.safetensors``.

    Raises:
        CheckpointError: It is not there yet and cannot be downloaded.
    """
    name = Path(url.split("?")[0].split("://", 1)[-1].partition("/")[2].rsplit("/", 1)[-1])
    if not name.name:
        raise CheckpointError(f"checkpoint {url} names no file: give its whole address")
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    target = download_folder() / f"{name.stem}-{digest}{name.suffix}"
    if not target.exists():
        try:
            transfer(url, target)
        except (OSError, ValueError) as error:  # ValueError where the address is none
            raise CheckpointError(
                f"cannot download {url} ({error}): fetch it elsewhere and save it as {target}"
            ) from error
    return target


def transfer(url: str, target: Path) -> None:
    """Write what is at an address to a file, which appears only when it is complete.

    torch.hub's own download waits for ever for a server that falls silent, and takes a file that
    was cut short for a whole one.

    Raises:
        OSError: No answer, a refusal, a web page in place of a file, or less than was announced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    request = Request(url, headers={"User-Agent": "mmseg_deepvit"})
    try:
        with replacing(target, sync=True) as part:
            with urlopen(request, timeout=TIMEOUT) as response, part.open("wb") as file:
                if response.headers.get_content_type() == "text/html":
                    raise ConnectionError("the server answers with a web page")
                size = int(response.headers.get("Content-Length") or 0)
                console, name = Console(stderr=True), target.name
                with wrap_file(response, size, description=name, console=console) as progress:
                    shutil.copyfileobj(progress, file, 1 << 20)
            received = part.stat().st_size
            if size and received != size:
                raise ConnectionError(f"the connection ended after {received} of {size} bytes")
    except HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
