import cv2
import numpy as np
import pytest

from mmseg_deepvit.errors import UserError

from .conftest import CONFIG, ROOT, SMALL, assert_one_line, call_tool, run_tool

TOOL = "tools/visualize_attention.py"


def arguments(image, out_dir, *args, config=ROOT / CONFIG, options=SMALL):
    fixed = (image, "--config", config, "--out-dir", out_dir, "--device", "cpu")
    return (*fixed, *args, "--cfg-options", *options)


@pytest.fixture
def look(monkeypatch, capsys):
    """Call the tool in this process; what it printed comes back."""

    def look(*args, **kwargs):
        call_tool(monkeypatch, TOOL, *arguments(*args, **kwargs))
        return capsys.readouterr().out

    return look


@pytest.fixture(scope="module")
def image(ade_root):
    return sorted((ade_root / "images/validation").glob("*.jpg"))[0]


def read(path):
    picture = cv2.imread(str(path))
    assert picture is not None, path
    assert picture.std() > 20, f"{path} is blank"
    return picture


def test_pictures_of_points_and_layers(trained, image, tmp_path):
    args = ("--checkpoint", trained.checkpoint, "--points", "40,50", "0,0", "--layers", "0", "-1")
    result = run_tool(TOOL, *arguments(image, tmp_path, *args, "--shape", "64", "64"))
    assert result.returncode == 0, result.stderr[-2000:]
    stem = image.stem
    heads = [f"{stem}_{p}_block{b}_heads.png" for p in ("x40_y50", "x0_y0") for b in ("00", "03")]
    others = [f"{stem}_x40_y50_overview.png", f"{stem}_x0_y0_overview.png", f"{stem}_token_pca.png"]
    assert {p.name for p in tmp_path.iterdir()} == {*heads, *others}
    pictures = {name: read(tmp_path / name) for name in (*heads, *others)}
    # The last block mixes heads: below P there is A.
    assert pictures[heads[1]].shape[0] > 1.5 * pictures[heads[0]].shape[0]
    assert not np.array_equal(pictures[heads[0]], pictures[heads[2]])
    assert "note" not in result.stdout


def test_without_checkpoint_the_init_is_shown_and_a_wrong_size_told(image, tmp_path, look):
    said = look(image, tmp_path, "--layers", "1", "--shape", "48")
    assert "note: no --checkpoint" in said
    assert "note: 10 tokens, and the BatchNorm of the maps belongs to 17" in said
    assert "--shape 64 64" in said
    height, width = cv2.imread(str(image)).shape[:2]
    read(tmp_path / f"{image.stem}_x{width // 2}_y{height // 2}_block01_heads.png")


def other_backbone(folder, backbone, in_channels, neck):
    """A config like ours with another backbone."""
    config = folder / f"{backbone['type']}.py"
    heads = dict(
        decode_head=dict(in_channels=in_channels), auxiliary_head=dict(in_channels=in_channels[2])
    )
    model = dict(backbone=dict(_delete_=True, **backbone), neck=neck, **heads)
    config.write_text(f"_base_ = {str(ROOT / CONFIG)!r}\nmodel = {model!r}\n")
    return dict(config=config, options=[o for o in SMALL if not o.startswith("model.backbone")])


def test_plain_transformers_of_others_are_shown(image, tmp_path, look):
    sizes = dict(img_size=(64, 64), embed_dims=96, num_layers=2, num_heads=2)
    backbone = dict(type="VisionTransformer", **sizes, out_indices=(0, 1, 1, 1))
    config = other_backbone(tmp_path, backbone, [96] * 4, dict(embed_dim=96))
    look(image, tmp_path / "out", "--points", "9,9", "--layers", "1", **config)
    for part in ("token_pca", "x9_y9_block01_heads", "x9_y9_overview"):
        read(tmp_path / "out" / f"{image.stem}_{part}.png")


@pytest.mark.parametrize(
    ("kind", "sizes", "channels"),
    [
        ("SwinTransformer", dict(depths=(1, 1, 1, 1), window_size=4), [12, 24, 48, 96]),
        ("MixVisionTransformer", dict(num_layers=(1, 1, 1, 1)), [12, 12, 24, 24]),
    ],
)
def test_attention_to_a_part_is_not(image, tmp_path, look, kind, sizes, channels):
    """Within windows, or to reduced keys."""
    backbone = dict(type=kind, embed_dims=12, num_heads=(1, 1, 2, 2), **sizes)
    config = other_backbone(tmp_path, backbone, channels, None)
    out = tmp_path / "out"
    said = look(image, out, **config)
    assert f"note: {kind} has no attention over all patches" in said
    assert [p.name for p in out.iterdir()] == [f"{image.stem}_token_pca.png"]
    read(out / f"{image.stem}_token_pca.png")
    with pytest.raises(UserError, match=rf"{kind} has no attention.*leave out --points"):
        look(image, tmp_path / "none", "--points", "1,1", **config)
    assert not (tmp_path / "none").exists()


def test_bad_input(image, tmp_path, look, capsys):
    out = tmp_path / "out"
    height, width = cv2.imread(str(image)).shape[:2]
    outside = f"--points {width},0 lies outside the image of {width}×{height}"
    assert_one_line(run_tool(TOOL, *arguments(image, out, "--points", f"{width},0")), outside)
    with pytest.raises(UserError, match="--layers 4: the model runs blocks 0 to 3"):
        look(image, out, "--layers", "4")
    with pytest.raises(UserError, match=r"nowhere\.jpg does not exist"):
        look(tmp_path / "nowhere.jpg", out)
    with pytest.raises(UserError, match=r"names .* images: give one"):
        look(image.parent, out)
    with pytest.raises(SystemExit, match="2"):
        look(image, out, "--points", "12")
    assert "expected X,Y in pixels, got '12'" in capsys.readouterr().err
    assert not out.exists()
