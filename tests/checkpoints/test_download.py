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
    """A server of this machine: whole files, half ones, pages, and one that falls silent."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    torch.save(WEIGHTS, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    asked, stop = [], threading.Event()

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
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole[:100] if name in ("half.pth", "silent.pth") else whole)
            if name == "silent.pth":
                stop.wait(20)

        def log_message(self, *_):
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    folder = tmp_path / "hub/checkpoints"
    yield SimpleNamespace(url=f"http://127.0.0.1:{http.server_port}/", asked=asked, folder=folder)
    stop.set()
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_file_is_downloaded_once(server):
    for _ in range(2):
        content = read_checkpoint(server.url + "whole.pth?token=1")
        torch.testing.assert_close(dict(content), WEIGHTS)
    assert len(server.asked) == 1
    assert [path.name for path in server.folder.iterdir()] == ["whole.pth"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("half.pth", r"100 of \d+ bytes|IncompleteRead"),
        ("page.pth", "the server answers with a web page"),
        ("gone.pth", "404"),
        ("silent.pth", "timed out"),
    ],
)
def test_what_cannot_be_downloaded_leaves_nothing(server, name, reason):
    start = time.monotonic()
    message = rf"cannot download {server.url}{name} \(.*({reason}).*save it as .*{name}"
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(server.url + name)
    assert "\n" not in str(caught.value)
    assert not list(server.folder.iterdir())
    assert time.monotonic() - start < 10


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(CheckpointError, match=r"cannot download .*save it as .*deepvit\.pth"):
        read_checkpoint("http://127.0.0.1:9/deepvit.pth?token=1")
    torch.save(WEIGHTS, tmp_path / "checkpoints" / "deepvit.pth")
    content = read_checkpoint("http://127.0.0.1:9/deepvit.pth?token=1")
    torch.testing.assert_close(dict(content), WEIGHTS)
