import json

import pytest

from mmseg_deepvit.errors import UserError
from mmseg_deepvit.own_data.classes import derive_classes
from mmseg_deepvit.own_data.label_tables import read_label_table
from mmseg_deepvit.own_data.survey import MaskCounts, Survey, survey_pairs

from ..datasets.folders import write_pairs


def survey(pixels, colours=False):
    counts = MaskCounts()
    counts.pixels.update(pixels)
    counts.example.update(dict.fromkeys(pixels, "m.png"))
    found = Survey(is_coloured=colours)
    if colours:
        found.colours = counts
    else:
        found.values = counts
        found.palette = {value: value * 0x010101 for value in pixels}
    return found


@pytest.mark.parametrize(
    ("pixels", "arguments", "labels", "ignored"),
    [
        ({0: 3, 255: 1}, {}, {"background": [0], "foreground": [255]}, []),
        ({0: 3, 1: 1}, {}, {"background": [0], "foreground": [1]}, []),
        ({0: 3, 1: 1, 2: 2, 255: 2}, {}, {f"class_{i}": [i] for i in range(3)}, [255]),
        ({0: 3, 128: 1, 255: 2}, {}, {f"class_{i}": [i] for i in (0, 128, 255)}, []),
        ({0: 3, 1: 1, 255: 2}, dict(ignore=[]), {f"class_{i}": [i] for i in (0, 1, 255)}, []),
        ({0: 3, 1: 1, 11: 2}, dict(names=["a", "b"], ignore=["11"]), {"a": [0], "b": [1]}, [11]),
    ],
)
def test_values(pixels, arguments, labels, ignored):
    found = derive_classes(survey(pixels), **arguments)
    assert found.labels == labels
    assert found.ignore == ignored
    kept = sum(pixels[v] for values in labels.values() for v in values)
    assert found.shares == [pixels[v[0]] / kept for v in labels.values()]
    assert found.ignored == pytest.approx(1 - kept / sum(pixels.values()))


def test_colours():
    found = derive_classes(survey({0: 3, 0xFF8000: 1}, colours=True))
    assert found.labels == {"colour_0": ["#000000"], "colour_1": ["#ff8000"]}
    assert "--classes names them" in found.notes[0]


def test_names_do_not_tell_colours_apart():
    """Beside black, two colours have no order that a person could know."""
    colours = survey({0: 3, 0x00FF00: 1, 0xFF0000: 1}, colours=True)
    assert "--labels FILE names them: lines NAME RED GREEN BLUE" in derive_classes(colours).notes[0]
    with pytest.raises(UserError, match=r"cannot tell which colour is which .*#00ff00.* --labels"):
        derive_classes(colours, names=["ground", "blob", "rod"])
    two = survey({0: 3, 0xFF0000: 1}, colours=True)
    assert derive_classes(two, names=["ground", "rod"]).labels["rod"] == ["#ff0000"]


def test_shares_are_those_of_the_training(tmp_path):
    """Validation adds no pixel to the classes' weights, but its values are classes."""
    pairs = {}
    for part, value in (("train", 1), ("val", 2)):
        write_pairs(tmp_path / part, count=2, value=value)
        folder = tmp_path / part
        pairs[part] = [(f"{folder}/images/{i}.png", f"{folder}/masks/{i}.png") for i in range(2)]
    found = derive_classes(survey_pairs(pairs), names=["a", "b", "c"])
    assert found.shares == [0.75, 0.25, 0]


@pytest.mark.parametrize(
    ("pixels", "arguments", "said"),
    [
        ({0: 3}, {}, "hold 1 class "),
        ({0: 3, 1: 1}, dict(names=["a"]), r"names 1 classes and masks hold 2 values \(0, 1\)"),
        ({0: 3, 1: 1}, dict(names=["a", "a"]), "names a class twice"),
        ({0: 3, 1: 1}, dict(ignore=["x"]), "takes values or colours '#rrggbb', got 'x'"),
        (dict.fromkeys(range(300), 1), {}, "300 different values, more than the 255"),
        ({0: 900, 255: 500, **dict.fromkeys(range(20, 200, 9), 1)}, {}, "smoothed borders"),
    ],
)
def test_values_that_are_likely_no_classes(pixels, arguments, said):
    with pytest.raises(UserError, match=said):
        derive_classes(survey(pixels), **arguments)


TABLES = {
    "label_colors.txt": "128 64 128\tRoad\n64 0 128\t\tCar\n64 0 192 Car\n0 0 0 Void\n",
    "colours.csv": "name,r,g,b\nRoad,128,64,128\nCar,64,0,128\nCar,64,0,192\nVoid,0,0,0\n",
    "hex.csv": "\ufeffRoad;x\nRoad,#804080\nCar,#400080\nCar,#4000C0\nVoid,#000000\n",
    "a.json": json.dumps(
        {"Road": [128, 64, 128], "Car": [[64, 0, 128], "#4000c0"], "Void": "#000000"}
    ),
    "b.json": json.dumps(
        [
            {"name": "Road", "color": [128, 64, 128]},
            {"name": "Car", "color": [64, 0, 128]},
            {"name": "Car", "color": "#4000c0"},
            {"name": "Void", "color": [0, 0, 0]},
        ]
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_colours(tmp_path, name):
    path = tmp_path / name
    path.write_text(TABLES[name], encoding="utf-8")
    assert read_label_table(str(path)) == {
        "Road": ["#804080"],
        "Car": ["#400080", "#4000c0"],
        "Void": ["#000000"],
    }
    pixels = {0x804080: 2, 0x400080: 1, 0x4000C0: 1, 0: 4}
    found = derive_classes(survey(pixels, colours=True), table_path=str(path))
    assert list(found.labels) == ["Road", "Car"]
    assert found.ignore == ["#000000"]
    assert found.shares == [0.5, 0.5]
    with pytest.raises(UserError, match=r"hold #ffffff in 11\.111% of the pixels"):
        derive_classes(survey({**pixels, 0xFFFFFF: 1}, colours=True), table_path=str(path))


def test_a_table_of_values(tmp_path):
    (tmp_path / "t.csv").write_text("name,value\nskin,0\nlesion,1\nlesion,255\n")
    found = derive_classes(survey({0: 2, 1: 1, 255: 1}), table_path=str(tmp_path / "t.csv"))
    assert found.labels == {"skin": [0], "lesion": [1, 255]}


def test_a_table_of_colours_for_indices(tmp_path):
    """The masks hold the numbers of the table's lines."""
    (tmp_path / "t.txt").write_text("0 0 0 skin\n255 0 0 lesion\n")
    found = derive_classes(survey({0: 2, 1: 1, 255: 1}), table_path=str(tmp_path / "t.txt"))
    assert found.labels == {"skin": [0], "lesion": [1]}
    assert found.palette == [[0, 0, 0], [255, 0, 0]]
    assert found.ignore == [255]


@pytest.mark.parametrize(
    ("name", "text"),
    [("t.txt", "nothing"), ("t.json", "{"), ("t.json", '{"a": 1.5}'), ("t.csv", "1,2,3")],
)
def test_no_tables(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="write lines NAME VALUE or NAME RED GREEN BLUE"):
        read_label_table(str(tmp_path / name))
