import socket

import pytest

from .conftest import assert_one_line, run_here

TOOL = "tools/explore.py"

pytest.importorskip("nicegui", reason="the explorer needs NiceGUI")


@pytest.fixture(autouse=True)
def _no_server(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the server was started")

    monkeypatch.setattr("nicegui.ui.run", refuse)


def test_a_taken_port_is_named_before_the_model_is_read(there):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run_here(TOOL, there.cfg, there.folder / "none.pth", "--port", port)
    assert_one_line(result, f"--port {port} of 127.0.0.1 cannot be used", "leave it out")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--run", "nowhere"], "--run nowhere is no folder; give the work dir of a run"),
        (["--images", "nowhere.jpg"], "nowhere.jpg does not exist"),
        ([], "none.pth"),
    ],
)
def test_what_does_not_exist_is_named(there, options, said):
    assert_one_line(run_here(TOOL, there.cfg, there.folder / "none.pth", *options), said)


def test_ports_have_a_range(there):
    result = run_here(TOOL, there.cfg, there.ck, "--port", 70000)
    assert result.returncode == 2
    assert "--port must be from 1 to 65535, got 70000" in result.stderr
