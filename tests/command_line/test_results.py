import errno

import pytest

from mmseg_deepvit.command_line import check_out, writing
from mmseg_deepvit.errors import UserError


def test_places_to_write_to(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in ("new", "new/below", "."):
        assert check_out(str(tmp_path / path), "--out", is_folder=True) == tmp_path / path
    for path in ("file", "new.txt", "new/new.txt"):
        assert check_out(str(tmp_path / path), "--out", is_folder=False) == tmp_path / path
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing is made"
    for path, is_folder, said in (
        (tmp_path / "file", True, "is a file: name a folder"),
        (tmp_path, False, "is a folder: name a file in it"),
        (tmp_path / "file/x", True, "file is a file"),
        (tmp_path / "file/x/y", False, "file is a file"),
        ("", True, "--out is empty"),
        (" ", False, "--out is empty"),
        ("a\0b", True, "is no name"),
        ("x" * 5000, False, "is no name"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            check_out(str(path), "--out", is_folder)
        assert len(str(caught.value)) < 400


def test_older_results_stay_where_new_ones_cannot_be_written(tmp_path, monkeypatch):
    with writing(tmp_path / "new" / "a.txt") as part:
        part.write_text("older")
        assert list(part.parent.iterdir()) == [part]

    def full(*names):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    said = r"^--out .*a\.txt cannot be written \(No space left on device\): give another$"
    with pytest.raises(UserError, match=said), writing(tmp_path / "new/a.txt", "--out") as part:
        part.write_text("newer")
    said = r"cannot be written \(no such format\): give another$"
    with pytest.raises(UserError, match=said), writing(tmp_path / "new/a.txt"):
        raise ValueError("no such format\nand more")
    assert [path.read_text() for path in (tmp_path / "new").iterdir()] == ["older"]
