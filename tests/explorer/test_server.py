import socket

import numpy as np
import pytest

from mmseg_deepvit.errors import UserError

pytest.importorskip("nicegui", reason="the explorer needs NiceGUI")

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from mmseg_deepvit.explorer import require_nicegui, server
from mmseg_deepvit.explorer.gallery import Gallery
from mmseg_deepvit.inference import read_image, write_png


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("pc", False)],
)
def test_which_hosts_are_this_machine_alone(host, expected):
    assert server.is_loopback(host) is expected


def test_a_port_that_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {taken} of 127.0.0.1 .*; leave it out"):
            server.pick_port("127.0.0.1", taken)
        monkeypatch.setattr(server, "PORT", taken)
        assert server.pick_port("127.0.0.1", None) not in (0, taken)
    assert server.pick_port("127.0.0.1", taken) == taken
    with pytest.raises(UserError, match=r"--host 203\.0\.113\.1 cannot be used .*127"):
        server.pick_port("203.0.113.1", None)


@pytest.mark.parametrize(
    ("size", "path", "status"),
    [(100, "/x/upload/1", 200), (5000, "/x/upload/1", 413), (5000, "/elsewhere", 200)],
)
def test_large_uploads_are_refused_before_they_are_read(monkeypatch, size, path, status):
    monkeypatch.setattr(server, "MOST_BYTES", 1000)
    monkeypatch.setattr(server, "_FORM_BYTES", 100)

    async def answer(request):
        return PlainTextResponse(str(len(await request.body())))

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
    client = TestClient(server.UploadLimit(app))
    assert client.post(path, content=bytes(size)).status_code == status


def test_uploads_of_unknown_size_are_refused():
    client = TestClient(server.UploadLimit(Starlette()))
    assert client.post("/x/upload/1", content=iter([b"a", b"b"])).status_code == 413


def test_samples_are_read_when_they_are_asked_for(tmp_path):
    write_png(tmp_path / "good.png", np.full((400, 800, 3), 9, np.uint8))
    (tmp_path / "bad.png").write_bytes(b"no image")
    gallery = Gallery([tmp_path / "good.png", tmp_path / "bad.png"], read_image)
    assert gallery._respond(0).media_type == "image/jpeg"
    assert [gallery._respond(i).status_code for i in (0, 1, 2, -1)] == [200, 404, 404, 404]
    assert gallery.read(0).shape == (400, 800, 3)
    with pytest.raises(UserError, match=r"bad\.png is no image"):
        gallery.read(1)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr("mmseg_deepvit.explorer.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"NiceGUI, which is not installed; pip install .*explore"):
        require_nicegui()
