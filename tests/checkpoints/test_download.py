import hashlib
import io
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch

from mmseg_deepvit.checkpoints import download, read_checkpoint
from mmseg_deepvit.errors import CheckpointError

WEIGHTS = {"a": torch.arange(3.0)}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of this machine: full files, half ones, pages, and a silence."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    torch.save(WEIGHTS, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    asked, answers, stop = [], {}, threading.Event()

    def answer(number):
        file = io.BytesIO()
        torch.save({"a": torch.full((3,), number)}, file)
        return file.getvalue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            name = self.path.strip("/").split("?")[0]
            kind = "text/html" if name == "page.pth" else "application/octet-stream"
            if name == "gone.pth":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            number = answers.get(self.path.removeprefix("/"))
            content = whole if number is None else answer(number)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:100] if name in ("half.pth", "silent.pth") else content)
            if name == "silent.pth":
                stop.wait(20)

        def log_message(self, *_):
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    folder = tmp_path / "hub/checkpoints"
    url = f"http://127.0.0.1:{http.server_port}/"
    yield SimpleNamespace(url=url, asked=asked, answers=answers, folder=folder)
    stop.set()
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_file_is_downloaded_once(server):
    for _ in range(2):
        content = read_checkpoint(server.url + "whole.pth?token=1")
        torch.testing.assert_close(dict(content), WEIGHTS)
    assert len(server.asked) == 1
    (path,) = server.folder.iterdir()
    assert re.fullmatch(r"whole-[0-9a-f]{12}\.pth", path.name)


def test_a_hash_in_the_name_is_that_of_the_content(server):
    server.answers["name"] = 1
    read_checkpoint(server.url + "name")
    (path,) = server.folder.iterdir()
    told = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    for name in (f"w-{told}.pth", "w-20210526.pth", "vit-384.pth"):
        server.answers[name] = 1
        assert read_checkpoint(server.url + name)["a"].tolist() == [1, 1, 1]


def test_addresses_that_end_alike_are_two_files(server):
    """Each model on Hugging Face is a model.safetensors; a store's name may be in the query."""
    addresses = [f"{server.url}{part}" for part in ("a/w.pth", "b/w.pth", "get?id=1", "get?id=2")]
    for i, address in enumerate(addresses):
        server.answers[address.removeprefix(server.url)] = i
    for i, address in enumerate(addresses):
        assert read_checkpoint(address)["a"].tolist() == [i, i, i]
    assert len(list(server.folder.iterdir())) == 4


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("half.pth", r"100 of \d+ bytes|IncompleteRead"),
        ("page.pth", "the server answers with a web page"),
        ("gone.pth", "404"),
        ("silent.pth", "timed out"),
        ("other-01234567.pth", "its SHA-256 does not begin with 01234567"),
    ],
)
def test_what_cannot_be_downloaded_leaves_nothing(server, name, reason):
    start = time.monotonic()
    message = (
        rf"cannot download {server.url}{name} \(.*({reason}).*save it as .*{name.partition('.')[0]}"
    )
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(server.url + name)
    assert "\n" not in str(caught.value)
    assert not list(server.folder.iterdir())
    assert time.monotonic() - start < 10


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    message = r"cannot download .*save it as (.*deepvit-\w+\.pth)"
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint("http://127.0.0.1:9/deepvit.pth?token=1")
    torch.save(WEIGHTS, re.search(message, str(caught.value))[1])
    content = read_checkpoint("http://127.0.0.1:9/deepvit.pth?token=1")
    torch.testing.assert_close(dict(content), WEIGHTS)
