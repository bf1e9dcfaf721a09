"""What kind of file this is, by its first bytes: names promise little."""

from __future__ import annotations

import zipfile
from pathlib import Path

_WEB_PAGES = (b"<!doctype", b"<html", b"<?xml")
_MAX_HEADER = 100_000_000  # bytes; the format's own limit


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then JSON."""
    head = _head(path)
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER


def what_else(path: Path) -> str | None:
    """What a file is that is no PyTorch file, with a remedy; None if it may be one.

    Args:
        path: A file that is there.

    Returns:
        The end of the sentence "checkpoint … is".
    """
    head = _head(path)
    if not head:
        return "damaged or not a PyTorch file (it is empty): download or save it again"
    if head.lstrip().lower().startswith(_WEB_PAGES):
        return (
            "damaged or not a PyTorch file (it is a web page, so its download failed): delete it "
            "and download it again"
        )
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself: run git lfs pull"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        begins = head.decode().split("\n")[0][:40]
        return f"damaged or not a PyTorch file (it is text, {begins!r}): download or save it again"
    return _other_archive(path) if zipfile.is_zipfile(path) else None


def _other_archive(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return None
    if any(name.endswith(".npy") for name in names):
        return (
            "a NumPy archive, as google-research publishes: give timm's weights of the same model, "
            "timm://NAME, e.g. timm://vit_small_patch16_224.augreg_in21k"
        )
    held = ", ".join(names[:3]) or "nothing"
    return f"damaged or not a PyTorch file (it is a zip archive of {held}): unpack it"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(256)
