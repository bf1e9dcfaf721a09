import json

import pytest

from mmseg_deepvit.attention.native import library

from .conftest import CONFIG, SMALL, assert_one_line, run_tool

MODEL = [option for option in SMALL if option.startswith("model.")]


def test_one_layer(tmp_path):
    """Table, figures and plot; errors are those of rounding."""
    figures, plot = tmp_path / "figures.json", tmp_path / "plot.png"
    result = run_tool(
        *("tools/benchmark_attention.py", "--tokens", 150, 300, "--heads", 4, "--head-dims", 8),
        *("--rounds", 2, "--json", figures, "--plot", plot, "--device", "cpu"),
    )
    assert result.returncode == 0, result.stderr
    content = json.loads(figures.read_text())
    layers = [r for r in content["results"] if "backend" in r]
    names = ["native"] if library.AVAILABLE else []
    names += ["blockwise", "explicit", "sdpa", "floor"]
    assert [(r["tokens"], r["backend"]) for r in layers] == [
        (n, b) for n in (150, 300) for b in names
    ]
    for layer in layers:
        assert 0 < layer["eval_seconds"]["low"] <= layer["eval_seconds"]["high"]
        if layer["backend"] not in ("sdpa", "floor"):
            assert 0 < max(layer["errors"].values()) < 1e-5
    passes = [r for r in content["results"] if "backend" not in r]
    assert all(p["backward"]["median"] > 0 for p in passes)
    assert "second moment" in result.stdout
    assert "TFLOP/s in fp32" in result.stdout
    floors = [r["train_seconds"]["median"] for r in layers if r["backend"] == "floor"]
    times = [r["train_seconds"]["low"] for r in layers if r["backend"] == "blockwise"]
    assert 1.9 * floors[0] < floors[1] < times[1]
    assert plot.stat().st_size > 1000


@pytest.mark.parametrize("mix", ["pre", "both"])
@pytest.mark.parametrize("norm", ["ln", "none"])
def test_other_mixes(mix, norm):
    result = run_tool(
        *("tools/benchmark_attention.py", "--tokens", 150, "--heads", 2, "--head-dims", 8),
        *("--rounds", 1, "--mix", mix, "--norm", norm, "--dtype", "bf16", "--device", "cpu"),
    )
    assert result.returncode == 0, result.stderr
    assert "| 150 | blockwise" in result.stdout


def test_a_backbone_beside_others(tmp_path):
    figures = tmp_path / "figures.json"
    result = run_tool(
        *("tools/benchmark_model.py", CONFIG, "--shape", 320, 336, "--rounds", 1),
        *("--backends", "auto", "explicit", "--json", figures, "--device", "cpu"),
        *("--baseline", "maps", "mmseg-vit", "timm-vit", "timm-cait", "--profile"),
        *("--cfg-options", *MODEL, "model.backbone.embed_dims=48", "model.backbone.num_heads=6"),
        "model.backbone.in_channels=4",
    )
    assert result.returncode == 0, result.stderr
    results = {r["name"]: r for r in json.loads(figures.read_text())["results"]}
    assert list(results) == [
        *("ours, auto", "ours, explicit", "maps", "mmseg-vit", "timm-vit", "timm-cait")
    ]
    for name in ("ours, auto", "ours, explicit", "maps"):
        assert 0 < results[name]["error"] < 1e-4
    assert results["timm-vit"]["train_seconds"]["median"] > 0
    for mode in ("eval", "train"):
        assert results["ours, explicit"][f"{mode}_shares"] is None
        shares = results["ours, auto"][f"{mode}_shares"]
        assert min(shares) > 0
        assert sum(shares) < 1
    assert "| ours, auto" in result.stdout


def test_segmentors_side_by_side(tmp_path):
    """Several configs in one run, in two precisions: images a second, ratios to the first."""
    figures = tmp_path / "figures.json"
    names = ["linear_vit-w64-d12_isic2018-128x128", "linear_diverse-vit-w64-d12_isic2018-128x128"]
    result = run_tool(
        *("tools/benchmark_model.py", *(f"configs/{n}.py" for n in names), "--whole"),
        *("--shape", 64, "--rounds", 1, "--batch-size", 2, "--device", "cpu", "--json", figures),
        *("--amp", "both", "--cfg-options", "model.backbone.arch.num_layers=2"),
    )
    assert result.returncode == 0, result.stderr
    results = json.loads(figures.read_text())["results"]
    assert [r["name"] for r in results] == [
        f"{n}, {how}" for n in names for how in ("auto", "auto, bf16")
    ]
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in lines]
    assert rows[0][1:5] == ["eval, ms (quartiles)", "× first", "images/s", "eval, MB"]
    for row, measured in zip(rows[2:], results, strict=True):
        for mode, column in (("eval", 1), ("train", 5)):
            time = measured[f"{mode}_seconds"]["median"]
            first = results[0][f"{mode}_seconds"]["median"]
            assert row[column + 1] == f"{time / first:.2f}"
            assert float(row[column + 2]) == pytest.approx(2 / time, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["benchmark_model.py", "configs/nothing.py"], "configs/nothing.py does not exist"),
        (
            ["benchmark_model.py", CONFIG, "--cfg-options", "model.backbone.arch=deepvit-x"],
            "deepvit-x",
        ),
        (
            ["benchmark_attention.py", "--tokens", "20", "--rounds", "1", "--json", "/proc/x.json"],
            "--json /proc/x.json cannot be written",
        ),
    ],
)
def test_bad_input(arguments, said):
    assert_one_line(run_tool(f"tools/{arguments[0]}", *arguments[1:]), said)


@pytest.mark.parametrize(
    "arguments",
    [
        ["benchmark_attention.py", "--tokens", "1"],
        ["benchmark_attention.py", "--heads", "0"],
        ["benchmark_model.py", CONFIG, "--whole", "--baseline", "timm-vit"],
        ["benchmark_model.py", CONFIG, "--shape", "1", "2", "3"],
        ["benchmark_model.py", CONFIG, CONFIG],
        [
            *("benchmark_model.py", "configs/upernet_deepvit_ade20k.py"),
            *("configs/upernet_cait-s24_ade20k.py", "--baseline", "timm-vit"),
        ],
    ],
)
def test_usage(arguments):
    result = run_tool(f"tools/{arguments[0]}", *arguments[1:])
    assert result.returncode == 2
    assert "error: " in result.stderr.splitlines()[-1]
