from pathlib import Path

import cv2
import numpy as np
import pytest

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.inference import find_images, read_image, result_names


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "below/c.tif", "below/a.jpg", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(paths, folder):
    return [p.relative_to(folder).as_posix() for p in paths]


def test_folders_files_and_patterns(folder):
    found = find_images([str(folder)])
    assert names(found, folder) == ["a.PNG", "b.jpg", "below/a.jpg", "below/c.tif"]
    found = find_images([str(folder / "notes.txt"), str(folder / "*.jpg"), str(folder / "b.jpg")])
    assert names(found, folder) == ["notes.txt", "b.jpg"]
    found = find_images([str(folder / "**" / "*.jpg")])
    assert names(found, folder) == ["b.jpg", "below/a.jpg"]


def test_brackets_in_real_names_are_no_pattern(tmp_path):
    path = tmp_path / "a[1].jpg"
    path.write_bytes(b"x")
    assert find_images([str(path)]) == [path]


@pytest.mark.parametrize("name", ["nowhere.jpg", "*.bmp"])
def test_inputs_without_images_are_refused(folder, name):
    with pytest.raises(UserError, match=name.replace("*", r"\*")):
        find_images([str(folder / name)])


def test_result_names_differ():
    paths = [Path(p) for p in ("x/a.jpg", "y/a.jpg", "y/a.png", "y/b.jpg", "/z/a.jpg")]
    result = result_names(paths)
    assert result == ["x_a.jpg", "y_a.jpg", "y_a.png", "b", "z_a.jpg"]


def test_read_image(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "ä.png"
    cv2.imencode(".png", image)[1].tofile(path)
    assert np.array_equal(read_image(path), image)
    cv2.imencode(".png", image[..., 0])[1].tofile(path)
    assert read_image(path).shape == (5, 7, 3)


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"x" * 99, "is no image")])
def test_unreadable_images_are_one_line(tmp_path, content, message):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"a.jpg {message}"):
        read_image(path)
    with pytest.raises(UserError, match="does not exist"):
        read_image(tmp_path / "b.jpg")
