"""Downloads into torch.hub's folder: complete files or none.

``torch.hub.download_url_to_file`` waits for ever when a server falls silent, and keeps a file that
was cut short. ``huggingface_hub.hf_hub_download`` serves addresses of that hub alone.
"""

from __future__ import annotations

import hashlib
import re
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
#: The first digits of a file's SHA-256 in its name, as torch.hub and OpenMMLab publish; no date.
_HASH = re.compile(r"-(?!20\d{6}\.)([0-9a-f]{8,64})\.")


def download_folder() -> Path:
    """Folder of downloads: torch.hub's ``checkpoints``."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def download(url: str) -> Path:
    """Download a file once.

    Args:
        url: Address, ``http(s)://…``.

    Returns:
        Path in :func:`download_folder`. Many addresses end in ``model.safetensors``, so the name
        ends in a digest of the address.

    Raises:
        CheckpointError: The file is not there yet and cannot be downloaded.
    """
    name = Path(url.split("?")[0].split("://", 1)[-1].partition("/")[2].rsplit("/", 1)[-1])
    if not name.name:
        raise CheckpointError(f"checkpoint {url} names no file; give its full address")
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    target = download_folder() / f"{name.stem}-{digest}{name.suffix}"
    if not target.exists():
        try:
            transfer(url, target, name.name)
        except (OSError, ValueError) as error:  # ValueError where the address is none
            raise CheckpointError(
                f"cannot download {url} ({error}); fetch it elsewhere and save it as {target}"
            ) from error
    return target


def transfer(url: str, target: Path, name: str) -> None:
    """Write the answer of an address to a file, which appears only when it is complete.

    Args:
        url: Address.
        target: Path of the file.
        name: Published name. A hash in it must be the hash of the content.

    Raises:
        OSError: The server does not answer, refuses, sends a web page, fewer bytes than announced,
            or other content than the hash tells.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    request = Request(url, headers={"User-Agent": "mmseg_deepvit"})
    content = hashlib.sha256()
    try:
        with replacing(target, sync=True) as part:
            with urlopen(request, timeout=TIMEOUT) as response, part.open("wb") as file:
                if response.headers.get_content_type() == "text/html":
                    raise ConnectionError("the server answers with a web page")
                size = int(response.headers.get("Content-Length") or 0)
                console = Console(stderr=True)
                with wrap_file(response, size, description=name, console=console) as progress:
                    while block := progress.read(1 << 20):
                        file.write(block)
                        content.update(block)
                received = file.tell()
            if size and received != size:
                raise ConnectionError(f"the connection ended after {received} of {size} bytes")
            told = _HASH.search(name)
            if told and not content.hexdigest().startswith(told[1]):
                raise ConnectionError(
                    f"its SHA-256 does not begin with {told[1]}, the hash in its name"
                )
    except HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
