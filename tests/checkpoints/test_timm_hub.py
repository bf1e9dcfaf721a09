from email.message import Message
from urllib.error import HTTPError, URLError

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from mmseg_deepvit.checkpoints import read_checkpoint, timm_architecture, timm_hub
from mmseg_deepvit.errors import CheckpointError

NAME = "vit_small_patch16_224.augreg_in21k"
WEIGHTS = {"a": torch.arange(3.0)}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch.hub's folder of checkpoints; the Hugging Face cache is beside it, both empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    folder = tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def servers(monkeypatch):
    """Addresses and what they answer in place of the network: weights, or an error.

    ``asked`` holds the addresses that were tried, in order.
    """
    answers, asked = {}, []

    def transfer(url, target):
        asked.append(url)
        answer = answers.get(url, URLError("no network"))
        if isinstance(answer, Exception):
            raise answer
        if target.suffix == ".safetensors":
            save_file(answer, target)
        else:
            torch.save(answer, target)

    monkeypatch.setattr(timm_hub, "transfer", transfer)
    transfer.answers, transfer.asked = answers, asked
    return transfer


def hf(name, file="model.safetensors"):
    return f"https://huggingface.co/timm/{name}/resolve/main/{file}"


def not_found(url):
    return HTTPError(url, 404, "Not Found", Message(), None)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_in_the_folder_of_torch_hub(hub, servers, suffix):
    path = hub / f"{NAME}{suffix}"
    save_file(WEIGHTS, path) if suffix == ".safetensors" else torch.save(WEIGHTS, path)
    torch.testing.assert_close(dict(read_checkpoint(f"timm://{NAME}")), WEIGHTS)
    assert not servers.asked


def test_a_name_without_tag_is_the_default_ones(hub, servers):
    save_file(WEIGHTS, hub / "vit_small_patch16_224.augreg_in21k_ft_in1k.safetensors")
    read_checkpoint("timm://vit_small_patch16_224")
    assert not servers.asked


def test_a_file_that_timm_downloaded_before(hub, servers, tmp_path):
    repository = tmp_path / "hf" / f"models--timm--{NAME}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("abc")
    (repository / "snapshots/abc").mkdir(parents=True)
    save_file(WEIGHTS, repository / "snapshots/abc/model.safetensors")
    torch.testing.assert_close(dict(read_checkpoint(f"timm://{NAME}")), WEIGHTS)
    assert not servers.asked


def test_a_download_is_kept(hub, servers):
    servers.answers[hf(NAME)] = WEIGHTS
    for _ in range(2):
        torch.testing.assert_close(dict(read_checkpoint(f"timm://{NAME}")), WEIGHTS)
    assert servers.asked == [hf(NAME)]
    assert [path.name for path in hub.iterdir()] == [f"{NAME}.safetensors"]


def test_an_older_repository_without_safetensors(hub, servers):
    servers.answers[hf(NAME)] = not_found(hf(NAME))
    servers.answers[hf(NAME, "pytorch_model.bin")] = WEIGHTS
    torch.testing.assert_close(dict(read_checkpoint(f"timm://{NAME}")), WEIGHTS)
    assert [path.name for path in hub.iterdir()] == [f"{NAME}.pth"]


def test_the_authors_own_address_is_the_last(hub, servers):
    """Of a server that does not answer no second file is asked for: each try may take a while."""
    name = "deit_small_patch16_224.fb_in1k"
    url = "https://dl.fbaipublicfiles.com/deit/deit_small_patch16_224-cd65a155.pth"
    servers.answers[url] = WEIGHTS
    torch.testing.assert_close(dict(read_checkpoint(f"timm://{name}")), WEIGHTS)
    assert servers.asked == [hf(name), url]
    assert [path.name for path in hub.iterdir()] == [url.rsplit("/", 1)[-1]]
    read_checkpoint(f"timm://{name}")
    assert len(servers.asked) == 2


def test_without_a_network(hub, servers, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(f"timm://{NAME}")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        f"timm://{NAME} is not on this machine",
        "no network",
        f"fetch {hf(NAME)} and save it as {hub / NAME}.safetensors",
        f"{hub / NAME}.pth",
        str(tmp_path / "hf"),
    ):
        assert part in message, message
    assert servers.asked == [hf(NAME)], "JAX's archive is of no use"


def test_offline_means_no_try(hub, servers, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE is set.*fetch https://"):
        read_checkpoint(f"timm://{NAME}")
    assert not servers.asked


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_smal_patch16_224", "no model vit_smal_patch16_224: did you mean .*vit_small_patch16"),
        (
            "vit_small_patch16_224.augreg",
            r"no model .*mean .*vit_small_patch16_224\.augreg_",
        ),
        ("zzz", r"no model zzz: see timm\.list_pretrained"),
        ("vit_small_patch16_36x1_224", "no weights that can be read for vit_small_patch16_36x1"),
    ],
)
def test_names_that_timm_has_not(hub, servers, name, message):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(f"timm://{name}")
    assert not servers.asked


@pytest.mark.parametrize(
    ("name", "heads", "layers", "width", "patch"),
    [
        ("timm://vit_small_patch16_224.augreg_in21k", 6, 12, 384, 16),
        ("vit_large_patch14_reg4_dinov2", 16, 24, 1024, 14),
        ("deit_tiny_distilled_patch16_224", 3, 12, 192, 16),
        ("cait_xxs24_224", 4, 24, 192, 16),
    ],
)
def test_architectures(name, heads, layers, width, patch):
    assert timm_architecture(name) == {
        "num_heads": heads,
        "num_layers": layers,
        "embed_dims": width,
        "patch_size": (patch, patch),
    }


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "eva02_tiny_patch14_224"])
def test_architectures_of_other_kinds(name):
    with pytest.raises(CheckpointError, match=f"{name}.* is no plain vision transformer"):
        timm_architecture(name)


def test_the_error_of_a_damaged_download_names_the_file(hub, servers):
    (hub / f"{NAME}.safetensors").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=rf"{NAME} \(.*{NAME}\.safetensors\).*web page"):
        read_checkpoint(f"timm://{NAME}")
