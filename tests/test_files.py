"""Files are complete or missing, never partial."""

import os
import stat
from pathlib import Path

import pytest

from mmseg_deepvit.files import is_part, part_of, replacing


@pytest.mark.parametrize("sync", [False, True])
def test_two_writers_of_one_file(sync, tmp_path):
    """Each writer has its own part; the last to end gives the file."""
    path = tmp_path / "file"
    with replacing(path, sync) as one, replacing(path, sync) as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
        assert is_part(one)
        assert not path.exists()
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        part.write_text(str(1 // 0))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_names(tmp_path):
    """Long names are allowed, and only parts are taken for parts."""
    path = tmp_path / ("x" * 250)
    with replacing(path) as part:
        part.touch()
    assert stat.S_ISREG(os.stat(path).st_mode)
    assert is_part(part_of(Path("a.b")))
    assert not any(
        is_part(Path(name)) for name in ("a.part", ".a.part", ".part", "a.12345678.part")
    )
