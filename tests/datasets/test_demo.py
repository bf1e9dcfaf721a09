"""Tests of the synthetic demo set: its files, its promises about them, and its difficulty."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmseg_deepvit.datasets import demo

SPLITS = {"Training": 0, "Validation": 1_000_000}


def _pictures(count: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first pictures of a fixed stream."""
    return [demo.render_lesion_image(np.random.default_rng(i), size) for i in range(count)]


def _contents(root: Path) -> dict[str, bytes]:
    """All files below a folder by their relative path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def _stamps(root: Path) -> dict[str, int]:
    """Time of the last change of everything below a folder, and of the folder."""
    return {str(path): path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}


def _write(root: Path, num_train: int = 2, num_val: int = 1, size: int = 32, seed: int = 0) -> Path:
    return demo.write_demo_dataset(root, num_train, num_val, size, seed)


@pytest.mark.parametrize("size", [32, 77, 128])
def test_render_gives_documented_arrays(size: int) -> None:
    image, mask = demo.render_lesion_image(np.random.default_rng(3), size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert mask.shape == (size, size)
    assert mask.dtype == np.bool_


def test_render_is_determined_by_generator() -> None:
    first, second = _pictures(3, 48), _pictures(3, 48)
    for (image, mask), (image_again, mask_again) in zip(first, second, strict=True):
        np.testing.assert_array_equal(image, image_again)
        np.testing.assert_array_equal(mask, mask_again)
    assert not np.array_equal(first[0][0], first[1][0])


def test_render_refuses_small_size() -> None:
    with pytest.raises(ValueError, match="at least 32 pixels, got 31"):
        demo.render_lesion_image(np.random.default_rng(0), 31)


def test_lesion_share_is_in_range_and_varied() -> None:
    shares = [mask.mean() for _, mask in _pictures(50, 64)]
    assert min(shares) >= 0.02
    assert max(shares) <= 0.52
    assert min(shares) < 0.1
    assert max(shares) > 0.3


def test_lesion_differs_from_skin_beside_it() -> None:
    """The label's border is where the colour changes, so that a model can learn it."""
    kernel = np.ones((9, 9), np.uint8)
    distances = []
    for image, mask in _pictures(30, 128):
        lab = cv2.cvtColor(image.astype(np.float32) / 255.0, cv2.COLOR_BGR2Lab)
        inside = mask.astype(np.uint8)
        ring_in = mask & (cv2.erode(inside, kernel) == 0)
        ring_out = ~mask & (cv2.dilate(inside, kernel) > 0)
        # Medians, so that hairs and bubbles do not count.
        gap = np.median(lab[ring_in], axis=0) - np.median(lab[ring_out], axis=0)
        distances.append(float(np.linalg.norm(gap)))
    assert np.mean(np.array(distances) > 5.0) >= 0.9
    assert np.median(distances) > 10.0


def test_otsu_is_hard_but_not_absurd() -> None:
    intersection, union = np.zeros(2), np.zeros(2)
    for image, mask in _pictures(40, 128):
        guess = demo.otsu_lesion_mask(image)
        for label, (a, b) in enumerate(((~guess, ~mask), (guess, mask))):
            intersection[label] += np.sum(a & b)
            union[label] += np.sum(a | b)
    mean_iou = 100.0 * float(np.mean(intersection / union))
    assert 40.0 <= mean_iou <= 75.0


def test_otsu_finds_dark_disc() -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    cv2.circle(image, (32, 32), 15, (40, 50, 60), cv2.FILLED)
    mask = demo.otsu_lesion_mask(image)
    assert mask.shape == (64, 64)
    assert mask.dtype == np.bool_
    assert mask[32, 32]
    assert not mask[2, 2]


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)],
)
def test_otsu_refuses_other_arrays(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 of shape"):
        demo.otsu_lesion_mask(image)


def test_layout_and_values(tmp_path: Path) -> None:
    root = _write(tmp_path / "set", num_train=3, num_val=2, size=40)
    expected = {"demo.json"}
    for (split, first), count in zip(SPLITS.items(), (3, 2), strict=True):
        for index in range(first, first + count):
            picture = f"ISIC2018_Task1-2_{split}_Input/ISIC_{index:07d}.jpg"
            label = f"ISIC2018_Task1_{split}_GroundTruth/ISIC_{index:07d}_segmentation.png"
            expected |= {picture, label}
            assert cv2.imread(str(root / picture), cv2.IMREAD_UNCHANGED).shape == (40, 40, 3)
            mask = cv2.imread(str(root / label), cv2.IMREAD_UNCHANGED)
            assert mask.shape == (40, 40)
            assert mask.dtype == np.uint8
            assert set(np.unique(mask)) == {0, 255}
    assert set(_contents(root)) == expected
    record = json.loads((root / "demo.json").read_text(encoding="utf-8"))
    arguments = {"num_train": 3, "num_val": 2, "size": 40, "seed": 0}
    assert arguments.items() <= record.items()
    assert "format_version" in record


def test_returns_given_path_and_makes_parents(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b"
    assert demo.write_demo_dataset(str(root), 1, 1, 32) == root
    assert root.is_dir()


def test_writes_without_warnings(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path / "set")
    # OpenCV warns on the process's stderr, past Python.
    assert capfd.readouterr() == ("", "")


def test_same_arguments_same_files(tmp_path: Path) -> None:
    assert _contents(_write(tmp_path / "a")) == _contents(_write(tmp_path / "b"))


def test_pictures_do_not_depend_on_counts(tmp_path: Path) -> None:
    small = _contents(_write(tmp_path / "small", num_train=1, num_val=1))
    large = _contents(_write(tmp_path / "large", num_train=3, num_val=2))
    for name in small.keys() - {"demo.json"}:
        assert small[name] == large[name]


def test_seed_changes_every_picture(tmp_path: Path) -> None:
    first = _contents(_write(tmp_path / "a", seed=0))
    second = _contents(_write(tmp_path / "b", seed=1))
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_second_call_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _write(tmp_path / "set")
    before = _stamps(root)
    monkeypatch.setattr(demo, "render_lesion_image", None)
    _write(root)
    assert _stamps(root) == before


@pytest.mark.parametrize("change", [{"num_train": 1}, {"num_val": 2}, {"size": 36}, {"seed": 5}])
def test_other_arguments_make_set_again(tmp_path: Path, change: dict[str, int]) -> None:
    root = _write(tmp_path / "set")
    _write(root, **change)
    assert _contents(root) == _contents(_write(tmp_path / "fresh", **change))
    assert {path.name for path in tmp_path.iterdir()} == {"set", "fresh"}


def test_other_format_version_makes_set_again(tmp_path: Path) -> None:
    root = _write(tmp_path / "set")
    expected = _contents(root)
    record = json.loads((root / "demo.json").read_text(encoding="utf-8"))
    record["format_version"] = 0
    (root / "demo.json").write_text(json.dumps(record), encoding="utf-8")
    _write(root)
    assert _contents(root) == expected


def test_empty_folder_is_used(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    _write(root)
    assert (root / "demo.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_link_stays_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk", target_is_directory=True)
    assert _write(link) == link
    assert link.is_symlink()
    assert (tmp_path / "disk" / "demo.json").is_file()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("thesis.txt", "years of work"),
        ("demo.json", "not json"),
        ("demo.json", '{"title": "mine"}'),
        ("demo.json", "[1, 2]"),
    ],
)
def test_foreign_folder_is_refused(tmp_path: Path, name: str, text: str) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (root / name).write_text(text, encoding="utf-8")
    with pytest.raises(FileExistsError, match="choose another folder") as caught:
        _write(root)
    assert str(root) in str(caught.value)
    assert _contents(root) == {name: text.encode()}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_file_as_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="choose another folder"):
        _write(root)
    assert root.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["notes.txt", "ISIC2018_Task1-2_Training_Input/mine.jpg"])
def test_own_files_in_demo_set_are_not_deleted(tmp_path: Path, name: str) -> None:
    root = _write(tmp_path / "set")
    (root / name).write_text("mine", encoding="utf-8")
    before = _contents(root)
    _write(root)
    with pytest.raises(FileExistsError, match="choose another folder") as caught:
        _write(root, seed=1)
    assert name in str(caught.value)
    assert _contents(root) == before


@pytest.mark.parametrize("exists", [False, True])
def test_failure_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    root = tmp_path / "set"
    before = _contents(_write(root)) if exists else {}
    calls = 0
    imwrite = cv2.imwrite

    def fail_at_third(*args: object) -> bool:
        nonlocal calls
        calls += 1
        return calls < 3 and imwrite(*args)

    monkeypatch.setattr(cv2, "imwrite", fail_at_third)
    with pytest.raises(OSError, match="could not write"):
        _write(root, seed=1)
    assert calls == 3
    assert [path.name for path in tmp_path.iterdir()] == (["set"] if exists else [])
    assert _contents(root) == before


def test_old_set_comes_back_when_renaming_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _write(tmp_path / "set")
    before = _contents(root)
    rename = demo.os.rename

    def fail_for_new(source: Path, target: Path) -> None:
        if Path(source).name == "new":
            raise OSError("no such luck")
        rename(source, target)

    monkeypatch.setattr(demo.os, "rename", fail_for_new)
    with pytest.raises(OSError, match="no such luck"):
        _write(root, seed=1)
    assert _contents(root) == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_same_set_from_another_process_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    rename = demo.os.rename

    def other_was_faster(source: Path, target: Path) -> None:
        rename(source, target)
        raise OSError("directory not empty")

    monkeypatch.setattr(demo.os, "rename", other_was_faster)
    _write(root)
    assert (root / "demo.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train": 0}, "num_train: expected an integer, 1 to 1000000, got 0"),
        ({"num_val": -2}, "num_val: expected an integer, 1 to 1000000, got -2"),
        ({"num_train": 1_000_001}, "num_train: .* got 1000001"),
        ({"num_val": 2.5}, "num_val: .* got 2.5"),
        ({"num_val": True}, "num_val: .* got True"),
        ({"size": 31}, "size: expected an integer, at least 32, got 31"),
        ({"size": "128"}, "size: .* got '128'"),
        ({"seed": -1}, "seed: expected an integer, at least 0, got -1"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _write(tmp_path / "set", **arguments)
    assert not list(tmp_path.iterdir())
