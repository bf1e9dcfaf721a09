import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors.torch import save, save_file

from mmseg_deepvit.checkpoints import read_checkpoint, timm_hub
from mmseg_deepvit.errors import CheckpointError

NAME = "vit_small_patch16_224.augreg_in21k"
WEIGHTS = {"a": torch.arange(3.0)}
COMMIT = "0123456789" * 4


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch.hub's folder of checkpoints; the Hugging Face cache is near it, both empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    folder = tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


def set_hub_address(monkeypatch, address):
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)


@pytest.fixture
def server(monkeypatch):
    """A server of this machine that answers as Hugging Face does.

    ``files`` holds the content of its files by their paths, ``asked`` every request in order.
    """
    files, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(f"{self.command} {self.path}")
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            else:
                self.send_header("ETag", '"abc"')
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            return content or b""

        def do_GET(self):
            self.wfile.write(self.do_HEAD())

        def log_message(self, *_):
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    set_hub_address(monkeypatch, f"http://127.0.0.1:{http.server_port}")
    yield SimpleNamespace(files=files, asked=asked)
    http.shutdown()
    thread.join()
    http.server_close()


def hf(name, file="model.safetensors"):
    return f"/timm/{name}/resolve/main/{file}"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_in_the_folder_of_torch_hub(hub, server, suffix):
    path = hub / f"{NAME}{suffix}"
    save_file(WEIGHTS, path) if suffix == ".safetensors" else torch.save(WEIGHTS, path)
    torch.testing.assert_close(dict(read_checkpoint(f"timm://{NAME}")), WEIGHTS)
    assert not server.asked


def test_a_name_without_tag_is_the_default_ones(hub, server):
    save_file(WEIGHTS, hub / "vit_small_patch16_224.augreg_in21k_ft_in1k.safetensors")
    read_checkpoint("timm://vit_small_patch16_224")
    assert not server.asked


def test_a_file_that_timm_downloaded_before(hub, server, tmp_path):
    repository = tmp_path / "hf" / f"models--timm--{NAME}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("abc")
    (repository / "snapshots/abc").mkdir(parents=True)
    save_file(WEIGHTS, repository / "snapshots/abc/model.safetensors")
    torch.testing.assert_close(dict(read_checkpoint(f"timm://{NAME}")), WEIGHTS)
    assert not server.asked


def test_a_download_is_kept_where_timm_looks(hub, server):
    server.files[hf(NAME)] = save(WEIGHTS)
    for _ in range(2):
        torch.testing.assert_close(dict(read_checkpoint(f"timm://{NAME}")), WEIGHTS)
    assert server.asked.count(f"GET {hf(NAME)}") == 1
    assert huggingface_hub.try_to_load_from_cache(f"timm/{NAME}", "model.safetensors")
    assert not list(hub.iterdir())


def test_an_older_repository_without_safetensors(hub, server, tmp_path):
    torch.save(WEIGHTS, tmp_path / "weights.pth")
    server.files[hf(NAME, "pytorch_model.bin")] = (tmp_path / "weights.pth").read_bytes()
    torch.testing.assert_close(dict(read_checkpoint(f"timm://{NAME}")), WEIGHTS)
    assert server.asked[0] == f"HEAD {hf(NAME)}"


@pytest.mark.parametrize("has_repository", [True, False])
def test_the_authors_own_address_is_the_last(hub, server, monkeypatch, has_repository):
    """Of a server that does not answer no second file is asked for: each try may take a while."""
    asked = []

    def transfer(url, target, name):
        asked.append((url, name))
        torch.save(WEIGHTS, target)

    monkeypatch.setattr(timm_hub, "transfer", transfer)
    if not has_repository:
        set_hub_address(monkeypatch, "http://127.0.0.1:9")
    name, file = "deit_small_patch16_224.fb_in1k", "deit_small_patch16_224-cd65a155.pth"
    for _ in range(2):
        torch.testing.assert_close(dict(read_checkpoint(f"timm://{name}")), WEIGHTS)
    assert asked == [(f"https://dl.fbaipublicfiles.com/deit/{file}", file)]
    both = [f"HEAD {hf(name)}", f"HEAD {hf(name, 'pytorch_model.bin')}"]
    assert server.asked == (both if has_repository else [])
    assert [path.name for path in hub.iterdir()] == [file]


def test_without_a_network(hub, monkeypatch, tmp_path, caplog):
    set_hub_address(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(f"timm://{NAME}")
    message = str(caught.value)
    assert "\n" not in message
    assert not caplog.records
    assert message.count("refused") == 1, "JAX's archive is of no use"
    for part in (
        f"timm://{NAME} is not on this machine",
        f"fetch http://127.0.0.1:9{hf(NAME)} and save it as {hub / NAME}.safetensors",
        f"{hub / NAME}.pth",
        str(tmp_path / "hf"),
    ):
        assert part in message, message


def test_offline_means_no_try(hub, server, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE is set.*fetch http://"):
        read_checkpoint(f"timm://{NAME}")
    assert not server.asked


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_smal_patch16_224", "no model vit_smal_patch16_224; did you mean .*vit_small_patch16"),
        (
            "vit_small_patch16_224.augreg",
            r"no model .*mean .*vit_small_patch16_224\.augreg_",
        ),
        ("zzz", r"no model zzz; see timm\.list_pretrained"),
        ("vit_small_patch16_36x1_224", "no weights that can be read for vit_small_patch16_36x1"),
    ],
)
def test_names_that_timm_has_not(hub, server, name, message):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(f"timm://{name}")
    assert not server.asked


def test_the_error_of_a_damaged_download_names_the_file(hub, server):
    (hub / f"{NAME}.safetensors").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=rf"{NAME} \(.*{NAME}\.safetensors\).*web page"):
        read_checkpoint(f"timm://{NAME}")
