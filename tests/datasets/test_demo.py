"""Tests of the synthetic demo set: its files, its promises about them, and its difficulty."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmseg_deepvit.datasets import demo

SPLITS = {"Training": 0, "Validation": 1_000_000}


def pictures(count, size):
    """The first pictures of a fixed stream."""
    return [demo.render_lesion_image(np.random.default_rng(i), size) for i in range(count)]


def contents(root):
    """All files below a folder by their relative path."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def stamps(root):
    """Time of the last change of everything below a folder, and of the folder."""
    return {str(path): path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}


def names(folder):
    return {path.name for path in folder.iterdir()}


def make(root, num_train=2, num_val=1, size=32, seed=0):
    return demo.write_demo_dataset(root, num_train, num_val, size, seed)


@pytest.mark.parametrize("size", [32, 77, 128])
def test_render_gives_documented_arrays(size):
    image, mask = demo.render_lesion_image(np.random.default_rng(3), size)
    assert (image.shape, image.dtype) == ((size, size, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((size, size), np.bool_)


def test_render_is_determined_by_generator():
    first, second = pictures(3, 48), pictures(3, 48)
    for (image, mask), (image_again, mask_again) in zip(first, second, strict=True):
        np.testing.assert_array_equal(image, image_again)
        np.testing.assert_array_equal(mask, mask_again)
    assert not np.array_equal(first[0][0], first[1][0])


def test_render_refuses_small_size():
    with pytest.raises(ValueError, match="at least 32 pixels, got 31"):
        demo.render_lesion_image(np.random.default_rng(0), 31)


def test_lesion_share_is_in_range_and_varied():
    shares = [mask.mean() for _, mask in pictures(50, 64)]
    assert 0.02 <= min(shares) < 0.1
    assert 0.3 < max(shares) <= 0.52


def test_lesion_differs_from_the_skin_around_it():
    """The label's border is where the colour changes, so that a model can learn it."""
    kernel = np.ones((9, 9), np.uint8)
    distances = []
    for image, mask in pictures(30, 128):
        lab = cv2.cvtColor(image.astype(np.float32) / 255.0, cv2.COLOR_BGR2Lab)
        inside = mask.astype(np.uint8)
        ring_in = mask & (cv2.erode(inside, kernel) == 0)
        ring_out = ~mask & (cv2.dilate(inside, kernel) > 0)
        # Medians, so that hairs and bubbles do not count.
        gap = np.median(lab[ring_in], axis=0) - np.median(lab[ring_out], axis=0)
        distances.append(float(np.linalg.norm(gap)))
    assert np.mean(np.array(distances) > 5.0) >= 0.9
    assert np.median(distances) > 10.0


def test_otsu_is_hard_but_not_absurd():
    intersection, union = np.zeros(2), np.zeros(2)
    for image, mask in pictures(40, 128):
        guess = demo.otsu_lesion_mask(image)
        for label, (a, b) in enumerate(((~guess, ~mask), (guess, mask))):
            intersection[label] += np.sum(a & b)
            union[label] += np.sum(a | b)
    mean_iou = 100.0 * float(np.mean(intersection / union))
    assert 40.0 <= mean_iou <= 75.0


def test_otsu_finds_dark_disc():
    image = np.full((64, 64, 3), 200, np.uint8)
    cv2.circle(image, (32, 32), 15, (40, 50, 60), cv2.FILLED)
    mask = demo.otsu_lesion_mask(image)
    assert (mask.shape, mask.dtype) == ((64, 64), np.bool_)
    assert mask[32, 32]
    assert not mask[2, 2]


@pytest.mark.parametrize(("channels", "kind"), [((), "u1"), ((4,), "u1"), ((3,), "f4")])
def test_otsu_refuses_other_arrays(channels, kind):
    with pytest.raises(ValueError, match="expected uint8 of shape"):
        demo.otsu_lesion_mask(np.zeros((8, 8, *channels), kind))


def test_layout_and_values(tmp_path):
    root = make(tmp_path / "set", num_train=3, num_val=2, size=40)
    expected = {"demo.json"}
    for (split, first), count in zip(SPLITS.items(), (3, 2), strict=True):
        for index in range(first, first + count):
            picture = f"ISIC2018_Task1-2_{split}_Input/ISIC_{index:07d}.jpg"
            label = f"ISIC2018_Task1_{split}_GroundTruth/ISIC_{index:07d}_segmentation.png"
            expected |= {picture, label}
            assert cv2.imread(str(root / picture), cv2.IMREAD_UNCHANGED).shape == (40, 40, 3)
            mask = cv2.imread(str(root / label), cv2.IMREAD_UNCHANGED)
            assert (mask.shape, mask.dtype) == ((40, 40), np.uint8)
            assert set(np.unique(mask)) == {0, 255}
    assert set(contents(root)) == expected
    record = json.loads((root / "demo.json").read_text(encoding="utf-8"))
    assert {"num_train": 3, "num_val": 2, "size": 40, "seed": 0}.items() <= record.items()
    assert "format_version" in record


def test_returns_given_path_makes_parents_and_warns_of_nothing(tmp_path, capfd):
    root = tmp_path / "a" / "b"
    assert demo.write_demo_dataset(str(root), 1, 1, 32) == root
    assert root.is_dir()
    # OpenCV warns on the process's stderr, past Python.
    assert capfd.readouterr() == ("", "")


def test_pictures_depend_on_their_seed_and_number_alone(tmp_path):
    first = contents(make(tmp_path / "a"))
    assert contents(make(tmp_path / "b")) == first
    large = contents(make(tmp_path / "large", num_train=3, num_val=2))
    assert all(first[name] == large[name] for name in first.keys() - {"demo.json"})
    other = contents(make(tmp_path / "other", seed=1))
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_second_call_writes_nothing(tmp_path, monkeypatch):
    root = make(tmp_path / "set")
    before = stamps(root)
    monkeypatch.setattr(demo, "render_lesion_image", None)
    make(root)
    assert stamps(root) == before


@pytest.mark.parametrize("change", [{"num_train": 1}, {"num_val": 2}, {"size": 36}, {"seed": 5}])
def test_other_arguments_make_set_again(tmp_path, change):
    root = make(tmp_path / "set")
    make(root, **change)
    assert contents(root) == contents(make(tmp_path / "fresh", **change))
    assert names(tmp_path) == {"set", "fresh"}


def test_other_format_version_makes_set_again(tmp_path):
    root = make(tmp_path / "set")
    expected = contents(root)
    record = json.loads((root / "demo.json").read_text(encoding="utf-8"))
    (root / "demo.json").write_text(json.dumps({**record, "format_version": 0}), encoding="utf-8")
    make(root)
    assert contents(root) == expected


def test_empty_folder_is_used_and_a_link_stays_one(tmp_path):
    root, link = tmp_path / "set", tmp_path / "link"
    root.mkdir()
    link.symlink_to(root, target_is_directory=True)
    assert make(link) == link
    assert link.is_symlink()
    assert (root / "demo.json").is_file()
    assert names(tmp_path) == {"set", "link"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("thesis.txt", "years of work"),
        ("demo.json", "not json"),
        ("demo.json", '{"title": "mine"}'),
        ("demo.json", "[1, 2]"),
    ],
)
def test_foreign_folder_is_refused(tmp_path, name, text):
    root = tmp_path / "mine"
    root.mkdir()
    (root / name).write_text(text, encoding="utf-8")
    with pytest.raises(FileExistsError, match="choose another folder") as caught:
        make(root)
    assert str(root) in str(caught.value)
    assert contents(root) == {name: text.encode()}
    assert names(tmp_path) == {"mine"}


def test_file_as_root_is_refused(tmp_path):
    root = tmp_path / "set"
    root.write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="choose another folder"):
        make(root)
    assert root.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["notes.txt", "ISIC2018_Task1-2_Training_Input/mine.jpg"])
def test_own_files_in_demo_set_are_not_deleted(tmp_path, name):
    root = make(tmp_path / "set")
    (root / name).write_text("mine", encoding="utf-8")
    before = contents(root)
    make(root)
    with pytest.raises(FileExistsError, match="choose another folder") as caught:
        make(root, seed=1)
    assert name in str(caught.value)
    assert contents(root) == before


@pytest.mark.parametrize("exists", [False, True])
def test_failure_leaves_no_new_files(tmp_path, monkeypatch, exists):
    root = tmp_path / "set"
    before = contents(make(root)) if exists else {}
    calls, imencode = [], cv2.imencode

    def fail_at_third(*args):
        calls.append(args)
        return imencode(*args) if len(calls) < 3 else (False, None)

    monkeypatch.setattr(cv2, "imencode", fail_at_third)
    with pytest.raises(OSError, match="cannot encode"):
        make(root, seed=1)
    assert len(calls) == 3
    assert names(tmp_path) == ({"set"} if exists else set())
    assert contents(root) == before


def test_old_set_comes_back_when_renaming_fails(tmp_path, monkeypatch):
    root = make(tmp_path / "set")
    before = contents(root)
    rename = demo.os.rename

    def fail_for_new(source, target):
        if Path(source).name == "new":
            raise OSError("no such luck")
        rename(source, target)

    monkeypatch.setattr(demo.os, "rename", fail_for_new)
    with pytest.raises(OSError, match="no such luck"):
        make(root, seed=1)
    assert contents(root) == before
    assert names(tmp_path) == {"set"}


def test_same_set_from_another_process_is_accepted(tmp_path, monkeypatch):
    root = tmp_path / "set"
    rename = demo.os.rename

    def other_was_faster(source, target):
        rename(source, target)
        raise OSError("directory not empty")

    monkeypatch.setattr(demo.os, "rename", other_was_faster)
    make(root)
    assert (root / "demo.json").is_file()
    assert names(tmp_path) == {"set"}


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
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "set", **arguments)
    assert not list(tmp_path.iterdir())
