"""Tell the kind of a file by its content, because names promise little."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from pathlib import Path

from ..errors import reason

_WEB_PAGES = (b"<!doctype", b"<html", b"<?xml")
_ODD = (NotImplementedError, RuntimeError, EOFError)  # unknown compression, encryption, cut off
_MAX_HEADER = 100_000_000  # bytes; the format's own limit


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then JSON."""
    head = _head(path)
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER


def what_else(path: Path) -> str | None:
    """Kind of a file that PyTorch cannot read, with a remedy; None if it may be PyTorch's.

    The answer ends the sentence "checkpoint … is".
    """
    head = _head(path)
    if not head:
        return "damaged or not a PyTorch file (it is empty); download or save it again"
    if head.lstrip().lower().startswith(_WEB_PAGES):
        return (
            "damaged or not a PyTorch file (it is a web page, so its download failed); delete it "
            "and download it again"
        )
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself; run git lfs pull"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        begins = head.decode().split("\n")[0][:40]
        return f"damaged or not a PyTorch file (it is text, {begins!r}); download or save it again"
    if head.strip(b"\0") and _is_tar(path):
        # PyTorch reads these by plain pickle; before 2.6 it did so under weights_only too.
        return "a tar archive, as PyTorch before 0.4 wrote; convert it with such a PyTorch"
    return _other_archive(path)


def _is_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:"):
            return True
    except (tarfile.TarError, ValueError, OverflowError):
        return False


def _other_archive(path: Path) -> str | None:
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            _verify(archive)
    except (zipfile.BadZipFile, zlib.error, ValueError, OverflowError, *_ODD) as error:
        return f"damaged or not a PyTorch file ({reason(error)}); download or save it again"
    if any(name.endswith("constants.pkl") for name in names):
        return (
            "a TorchScript program, which holds code; give the checkpoint that training saved, or "
            "save its state_dict()"
        )
    if any(name.endswith("data.pkl") for name in names):
        return None
    if any(name.endswith(".npy") for name in names):
        return (
            "a NumPy archive, as google-research publishes; give timm's weights of the same model, "
            "timm://NAME, e.g. timm://vit_small_patch16_224.augreg_in21k"
        )
    held = ", ".join(names[:3]) or "nothing"
    return f"damaged or not a PyTorch file (it is a zip archive of {held}); unpack it"


def _verify(archive: zipfile.ZipFile) -> None:
    """Compare contents with their checksums, as PyTorch does not; BadZipFile if they differ."""
    for member in archive.infolist():
        if member.CRC:  # 0 where torch.serialization.set_crc32_options(False) has left it out
            with archive.open(member) as content:
                while content.read(1 << 22):
                    pass


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)
